"""The relay adds up the figures of all hubs."""

from db.flow import FeedFigures
from realtime.throughput import combined


def test_sockets_add_up_and_the_slowest_hub_tells_the_times() -> None:
    hubs = [FeedFigures(2, 3.0, 9.0), FeedFigures(5, 4.0, 8.0), FeedFigures(0, None, None)]
    assert combined(hubs) == FeedFigures(7, 4.0, 9.0)


def test_without_hubs_there_is_no_socket_and_no_time() -> None:
    assert combined([]) == FeedFigures(0, None, None)
