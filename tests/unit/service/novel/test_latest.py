"""An image is novel if its score is among the highest of the latest images."""

from service.novel.latest import SPAN, Latest


def test_the_first_images_are_novel_by_their_rank():
    latest = Latest(0.05)
    assert [latest.add(9.0, rank) for rank in (0.94, 0.95, 0.96)] == [False, True, True]


def test_from_the_hundredth_image_on_the_score_decides():
    latest = Latest(0.05)
    for score in range(1, 99):
        latest.add(score, 0.0)
    assert not latest.add(99, 0.0)  # the 99th image
    assert latest.add(95.5, 0.0)  # with 99, 98, 97 and 96, one of five among a hundred
    assert not latest.add(94.9, 1.0)  # the highest six of 101 begin with 95


def test_a_share_of_everything_keeps_every_image():
    latest = Latest(1.0)
    assert all(latest.add(score, 0.0) for score in (3.0, 1.0, 2.0) * 50)


def test_scores_that_are_older_than_the_span_are_forgotten():
    latest = Latest(0.01)
    for _ in range(SPAN):
        latest.add(100.0, 0.0)
    assert not latest.add(99.0, 0.0)
    for _ in range(SPAN):
        latest.add(1.0, 0.0)
    assert latest.add(2.0, 0.0)
    assert not latest.add(0.5, 0.0)


def test_about_the_share_of_a_long_stream_is_novel():
    latest = Latest(0.05)
    scores = [(i * 7919) % 10007 for i in range(10000)]  # no order
    novel = sum(latest.add(score, 0.0) for score in scores)
    assert 450 < novel < 550
