"""What both destinations share: a worker that was killed is not waited for."""

from quixstreams import Application

APPLICATION = dict(
    broker_address="{brokers}",
    consumer_group="{group}",
    auto_offset_reset="earliest",
    commit_interval=0.5,
    consumer_extra_config={"session.timeout.ms": 6000, "group.instance.id": "{group}"},
    use_changelog_topics=False,
    loglevel="WARNING",
)
