"""A process that knows audio_common_msgs/action/TTS: sends goals one after the other, prints how and when they ended.

usage: talk_tts.py NAMESPACE WORD..., where a word is a text, VOLUME|TEXT, wait:SECONDS or cancel:NUMBER of a goal.
"""

import sys
import time

import rclpy
from action_msgs.msg import GoalStatus
from audio_common_msgs.action import TTS
from rclpy.action import ActionClient

NAMES = {
    GoalStatus.STATUS_SUCCEEDED: "succeeded",
    GoalStatus.STATUS_CANCELED: "canceled",
    GoalStatus.STATUS_ABORTED: "aborted",
}


def main():
    namespace, *texts = sys.argv[1:]
    rclpy.init()
    node = rclpy.create_node("talk_tts")
    client = ActionClient(node, TTS, f"{namespace}/say")
    assert client.wait_for_server(60.0)
    time.sleep(0.5)

    def wait(future):
        rclpy.spin_until_future_complete(node, future, timeout_sec=60.0)
        assert future.done()
        return future.result()

    goals = []
    for text in texts:
        kind, _, seconds = text.partition(":")
        if kind == "cancel":
            wait(goals[int(seconds)].cancel_goal_async())
            continue
        if kind == "wait":
            time.sleep(float(seconds))
            continue
        volume, _, words = text.partition("|") if "|" in text else ("0", "", text)
        goals.append(wait(client.send_goal_async(TTS.Goal(text=words, volume=float(volume), rate=1.5))))
    for goal in goals:
        print(NAMES[wait(goal.get_result_async()).status] if goal.accepted else "refused", time.time_ns())
    node.destroy_node()
    rclpy.shutdown()


if __name__ == "__main__":
    main()
