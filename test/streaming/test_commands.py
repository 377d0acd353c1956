"""Emotions asked for at an instant of the audio: order, hold, end."""

from emotalk_ros.streaming.commands import EmotionOrders
from emotalk_ros.units import NS


def shown(orders, seconds):
    order = orders.at(round(seconds * NS))
    return None if order is None else order.control


def test_a_command_without_a_time_holds_from_the_next_frame_on():
    orders = EmotionOrders()
    assert shown(orders, 1.0) is None
    orders.give("happy", None)
    assert shown(orders, 1.1) == "happy" and shown(orders, 99.0) == "happy"


def test_stamped_commands_wait_for_their_audio_in_any_order_of_arrival():
    orders = EmotionOrders()
    orders.give("sad", 3 * NS)
    orders.give("happy", 2 * NS)
    assert [shown(orders, at) for at in (1.9, 2.0, 2.9, 3.0, 4.0)] == [None, "happy", "happy", "sad", "sad"]


def test_a_command_that_holds_for_a_while_ends():
    orders = EmotionOrders()
    orders.give("happy", 2 * NS, hold=0.5)
    assert [shown(orders, at) for at in (2.0, 2.49, 2.5, 3.0)] == ["happy", "happy", None, None]
    orders.give("sad", None, hold=1.0)
    assert [shown(orders, at) for at in (4.0, 4.9, 5.0)] == ["sad", "sad", None]


def test_the_last_word_for_an_instant_counts():
    orders = EmotionOrders()
    orders.give("happy", 2 * NS)
    orders.give("angry", 2 * NS, transition=1.0)
    assert orders.at(2 * NS).control == "angry" and orders.current.transition == 1.0
    orders.clear()
    assert shown(orders, 9.0) is None


def test_a_flood_of_future_commands_is_bounded():
    orders = EmotionOrders()
    for k in range(10_000):
        orders.give(k, (k + 1) * NS)
    assert len(orders._waiting) == EmotionOrders.MOST
