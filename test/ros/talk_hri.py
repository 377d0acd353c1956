"""A process that knows hri_msgs: `express WORD [VALENCE AROUSAL]` publishes one, `hear` prints one of each kind."""

import sys
import time

import rclpy
from hri_msgs.msg import Expression, FacialActionUnits


def main():
    rclpy.init()
    node = rclpy.create_node("talk_hri")
    end = time.monotonic() + 60.0
    if sys.argv[1] == "express":
        word, *place = sys.argv[2:]
        message = Expression(expression=word)
        if place:
            message.valence, message.arousal = map(float, place)
        publisher = node.create_publisher(Expression, "/robot/expression", 10)
        while publisher.get_subscription_count() == 0 and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(0.3)
        publisher.publish(message)
        time.sleep(0.5)
    else:
        shown, units = [], []
        node.create_subscription(Expression, "/robot/hri/expression", shown.append, 10)
        node.create_subscription(FacialActionUnits, "/robot/hri/facs", units.append, 10)
        while not (shown and units) and time.monotonic() < end:
            rclpy.spin_once(node, timeout_sec=0.1)
        print("units", *units[-1].intensity)
        print("confidence", *units[-1].confidence)
        print("expression", shown[-1].expression, shown[-1].valence, shown[-1].arousal, shown[-1].confidence)
    rclpy.shutdown()


if __name__ == "__main__":
    main()
