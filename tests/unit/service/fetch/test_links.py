"""Only plain https URLs of listed hosts are read as links."""

import pytest

from service.errors import FetchRefused
from service.fetch.links import read_link
from service.guard_settings import FetchSettings

HOSTS = FetchSettings(
    hosts="images.example.org, *.cdn.example, odd.example:8443, *.odd.example:8443, 9.9.9.9,"
    " [2620:FE::fe]:8443, xn--bcher-kva.example"
).hosts


@pytest.mark.parametrize(
    ("url", "place", "target"),
    [
        ("https://images.example.org", "images.example.org:443", b"/"),
        ("https://images.example.org/a/b.jpg?x=1&y=%2F", "images.example.org:443", b"/a/b.jpg?x=1&y=%2F"),
        ("https://images.example.org?x=1", "images.example.org:443", b"/?x=1"),
        ("HTTPS://Images.Example.ORG:443/a", "images.example.org:443", b"/a"),
        ("https://images.example.org./a", "images.example.org:443", b"/a"),
        ("https://images.example.org/a#part", "images.example.org:443", b"/a"),
        ("https://images.example.org/größe.jpg", "images.example.org:443", b"/gr%C3%B6%C3%9Fe.jpg"),
        ("https://a.cdn.example/", "a.cdn.example:443", b"/"),
        ("https://b.a.cdn.example/", "b.a.cdn.example:443", b"/"),
        ("https://odd.example:8443/", "odd.example:8443", b"/"),
        ("https://a.odd.example:8443/", "a.odd.example:8443", b"/"),
        ("https://9.9.9.9/", "9.9.9.9:443", b"/"),
        ("https://[2620:fe:0:0:0:0:0:fe]:8443/", "[2620:fe::fe]:8443", b"/"),
        ("https://bücher.example/", "xn--bcher-kva.example:443", b"/"),
        ("https://BÜCHER.example/", "xn--bcher-kva.example:443", b"/"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example:443", b"/"),
    ],
)
def test_a_listed_host_is_read(url, place, target):
    link = read_link(url, HOSTS)
    assert (link.place, link.target) == (place, target)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://images.example.org/", "only https"),
        ("ftp://images.example.org/", "only https"),
        ("file:///etc/hostname", "only https"),
        ("//images.example.org/a", "only https"),
        ("images.example.org/a", "only https"),
        ("", "only https"),
        ("https:images.example.org/a", "no host name"),
        ("https:///a", "no host name"),
        ("https://images.example.org@other.example/", "user name"),
        ("https://me:secret@images.example.org/", "user name"),
        ("https://@images.example.org/", "user name"),
        ("https://other.example/images.example.org", "other.example:443 are not fetched"),
        ("https://images.example.org.other.example/", "not fetched"),
        ("https://other-images.example.org/", "not fetched"),
        ("https://a.images.example.org/", "not fetched"),
        ("https://images.example.org:80/", "org:80 are not fetched"),
        ("https://images.example.org:8443/", "not fetched"),
        ("https://images.example.org:0/", "not fetched"),
        ("https://odd.example/", "odd.example:443 are not fetched"),
        ("https://a.odd.example/", "not fetched"),
        ("https://odd.example:18443/", "not fetched"),
        ("https://cdn.example/", "not fetched"),
        ("https://.cdn.example/", "no host name"),
        ("https://a..cdn.example/", "no host name"),
        ("https://evilcdn.example/", "not fetched"),
        ("https://images.example.org../", "no host name"),
        ("https://images%2eexample%2eorg/", "no host name"),
        ("https://bucher.example/", "not fetched"),
        ("https://images.example.org\\@other.example/", "backslash"),
        ("https://images.example.org /", "space"),
        ("https://images.example.org/a\r\nX: y", "control character"),
        ("https://images.example.org:99999/", "not fetched"),
        ("https://images.example.org:port/", "not a URL"),
        ("https://[images.example.org]/", "not a URL"),
        ("https://127.0.0.1/", "not fetched"),
        ("https://127.1/", "not fetched"),
        ("https://2130706433/", "not fetched"),
        ("https://0x7f.0.0.1/", "not fetched"),
        ("https://0x7f000001/", "not fetched"),
        ("https://0177.0.0.1/", "not a URL"),
        ("https://9.9.2313/", "not fetched"),
        ("https://[::1]/", "not fetched"),
        ("https://[2620:fe::fe]/", "not fetched"),
        ("https://[::ffff:9.9.9.9]/", "not fetched"),
        ("https://images.example.org/" + "a" * 4070, "over 4096 characters"),
    ],
)
def test_everything_else_is_refused(url, words):
    with pytest.raises(FetchRefused, match=words):
        read_link(url, HOSTS)


def test_the_longest_url_is_read():
    assert len(read_link("https://images.example.org/" + "a" * 4069, HOSTS).target) == 4070
