"""Only addresses in the internet count as public, and lookups that hang hold up nothing else."""

import asyncio
import socket
import threading
from ipaddress import ip_address

import pytest

from service.fetch.addresses import Lookups, is_public, resolve


@pytest.mark.parametrize(
    "text",
    [
        "1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
        "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0",
        "192.88.98.255", "192.88.100.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0",
        "223.255.255.255", "2000::1", "2001:200::", "2001:4860:4860::8888", "2001:dbf::1", "2003::",
        "2606:4700::1111", "3ffe:ffff::", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1",
    ],
)  # fmt: skip
def test_an_address_in_the_internet_is_public(text):
    assert is_public(ip_address(text))


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255",
        "100.64.0.0", "100.127.255.255",  # shared by the customers of a provider
        "127.0.0.1", "127.255.255.255", "169.254.0.0", "169.254.169.254", "169.254.255.255",
        "172.16.0.0", "172.31.255.255", "192.0.0.0", "192.0.0.255", "192.0.2.1", "192.88.99.1",
        "192.168.0.0", "192.168.255.255", "198.18.0.0", "198.19.255.255",  # benchmarks
        "198.51.100.1", "203.0.113.1", "224.0.0.1", "224.0.1.1", "239.255.255.255",  # groups
        "240.0.0.0", "255.255.255.255",
        "168.63.129.16", "::ffff:168.63.129.16",  # a cloud's metadata
        "::", "::1", "::127.0.0.1", "::8.8.8.8", "100::1", "fc00::", "fdff::1", "fe80::1", "fe80::1%eth0",
        "fec0::1", "ff02::1", "ff0e::1", "4000::1", "5f00::1",
        "2001::", "2001:0:7f00:1::1",  # Teredo
        "2001:db8::1", "2002:7f00:1::1", "2002:808:808::1", "3fff::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:0:1.1.1.1",
        "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::1.1.1.1",
    ],
)  # fmt: skip
def test_every_other_address_is_not(text):
    assert not is_public(ip_address(text))


def test_the_system_knows_addresses_and_names():
    assert resolve("127.0.0.1") == ["127.0.0.1"]
    assert set(resolve("localhost")) <= {"127.0.0.1", "::1"}


@pytest.mark.parametrize("name", ["no-such-name.invalid", "a..invalid", "a" * 64 + ".invalid"])
def test_a_name_without_addresses_is_an_os_error(name):
    with pytest.raises(OSError):  # noqa: PT011  # that it is no other class is what the test is about
        asyncio.run(Lookups(1, resolve).addresses(name))


def test_each_address_is_given_once():
    async def run():
        return await Lookups(1, lambda host: ["1.1.1.1", "1.1.1.1", "2606:4700::1"]).addresses("a.example")

    assert list(map(str, asyncio.run(run()))) == ["1.1.1.1", "2606:4700::1"]


def test_a_lookup_that_hangs_counts_until_it_ends_but_holds_up_nobody():
    hangs, calls = threading.Event(), []

    def resolver(host):
        calls.append(host)
        if host == "hangs.example":
            assert hangs.wait(30)
        return ["1.1.1.1"]

    async def run():
        lookups = Lookups(2, resolver)
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(lookups.addresses("hangs.example"), 0.02)
        with pytest.raises(TimeoutError):  # the limit is reached: no third thread
            await asyncio.wait_for(lookups.addresses("a.example"), 0.02)
        assert calls == ["hangs.example"] * 2
        await asyncio.wait_for(asyncio.to_thread(socket.gethostname), 5)  # the loop's own threads are free
        hangs.set()
        return await asyncio.wait_for(lookups.addresses("a.example"), 5)

    assert list(map(str, asyncio.run(run()))) == ["1.1.1.1"]


def test_a_lookup_that_fails_in_any_way_frees_its_place(monkeypatch):
    def resolver(host):
        if host == "odd.example":
            raise ValueError(host)
        return ["1.1.1.1"]

    def start(self):
        raise RuntimeError("can't start new thread")

    async def run():
        lookups = Lookups(1, resolver)
        with pytest.raises(OSError, match="odd"):
            await asyncio.wait_for(lookups.addresses("odd.example"), 5)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            with pytest.raises(RuntimeError):
                await lookups.addresses("a.example")
        return await asyncio.wait_for(lookups.addresses("a.example"), 5)

    assert list(map(str, asyncio.run(run()))) == ["1.1.1.1"]


def test_a_process_ends_though_a_lookup_hangs():
    async def run():
        lookups = Lookups(1, lambda host: threading.Event().wait(600) or [])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(lookups.addresses("a.example"), 0.02)

    asyncio.run(run())
    assert [thread.daemon for thread in threading.enumerate() if thread.name == "lookup"] == [True]
