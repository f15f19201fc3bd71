"""The queue of messages to the site's backend."""

from __future__ import annotations

import trio
from trio.testing import wait_all_tasks_blocked

from controller.services.site_identity.site_mailbox import SiteMailbox
from controller.site_identity.identity import MOST_MESSAGES, SiteMessage


async def test_reader_gets_all_messages_in_order() -> None:
    mailbox, found = SiteMailbox(), []

    async def read() -> None:
        found.append(await mailbox.take_messages())
        found.append(await mailbox.take_messages())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        mailbox.post("A", b"1")
        mailbox.post("B", b"2")
        await wait_all_tasks_blocked()
        mailbox.post("C", b"3")
    assert found == [[SiteMessage("A", b"1"), SiteMessage("B", b"2")], [SiteMessage("C", b"3")]]


async def test_mailbox_without_reader_keeps_newest_messages() -> None:
    mailbox = SiteMailbox()
    for number in range(MOST_MESSAGES + 10):
        mailbox.post("A", b"%d" % number)
    messages = await mailbox.take_messages()
    assert len(messages) == MOST_MESSAGES
    assert messages[-1].payload == b"%d" % (MOST_MESSAGES + 9)
