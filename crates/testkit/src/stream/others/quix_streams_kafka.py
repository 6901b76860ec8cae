
# Exactly once: the records and the group's offsets are committed in one transaction. The next
# start, with the same id, aborts the one that a kill left open.
application = Application(
    processing_guarantee="exactly-once",
    producer_extra_config={"transactional.id": "{group}"},
    **APPLICATION,
)
feed = application.topic("{feed}", value_deserializer="json")
destination = application.topic("{destination}", value_serializer="json")
application.dataframe(feed).to_topic(destination)
application.run()
