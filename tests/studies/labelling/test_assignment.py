"""Who is asked what."""

from __future__ import annotations

from collections import Counter

from studies.labelling.assignment import Taken, next_number, own_order, sides

FREE = Taken(judged={}, open_elsewhere={})


def test_the_own_order_is_followed() -> None:
    assert next_number([3, 1, 2], FREE, 1) == 3
    taken = Taken(judged={3: 1}, open_elsewhere={}, own={3})
    assert next_number([3, 1, 2], taken, 2) == 1


def test_full_items_are_left_out_whether_answered_or_on_a_screen() -> None:
    assert next_number([3, 1, 2], Taken(judged={3: 1}, open_elsewhere={1: 1}), 1) == 2
    assert next_number([3, 1, 2], Taken(judged={3: 1}, open_elsewhere={3: 1}), 2) == 1
    assert next_number([3], Taken(judged={}, open_elsewhere={3: 1}), 1) is None


def test_what_others_began_comes_first() -> None:
    assert next_number([3, 1, 2], Taken(judged={2: 1}, open_elsewhere={}), 2) == 2


def test_what_is_open_in_another_tab_comes_last() -> None:
    taken = Taken(judged={3: 1}, open_elsewhere={}, own_open={3})
    assert next_number([3, 1], taken, 2) == 1
    assert next_number([3], taken, 2) == 3


def test_orders_are_drawn_for_each_annotator_and_are_the_same_again() -> None:
    numbers = list(range(1, 41))
    ada, bob = (own_order(numbers, 0, name) for name in ("Ada", "Bob"))
    assert sorted(ada) == sorted(bob) == numbers
    assert len({tuple(ada), tuple(bob), tuple(numbers), tuple(own_order(numbers, 1, "Ada"))}) == 4
    assert own_order(numbers, 0, "Ada") == ada


def test_sides_are_even() -> None:
    """Of 2000 fair draws 4.5 standard deviations are 101."""
    first = Counter(sides(2, 7, "Ada", number)[0] for number in range(2000))
    assert abs(first[0] - 1000) < 101
    orders = Counter(tuple(sides(3, 7, "Ada", number)) for number in range(2000))
    assert len(orders) == 6
    assert sides(9, 7, "Ada", 5) == sides(9, 7, "Ada", 5)
    assert sorted(sides(9, 7, "Ada", 5)) == list(range(9))
