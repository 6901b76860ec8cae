
# At least once: the rows are committed in the table, then the group's offsets in Kafka.
from urllib.parse import urlsplit

from quixstreams.sinks.community.postgresql import PostgreSQLSink

application = Application(processing_guarantee="at-least-once", **APPLICATION)
server = urlsplit("{postgres}")
table = PostgreSQLSink(
    host=server.hostname,
    port=server.port,
    dbname=server.path.lstrip("/"),
    user=server.username,
    password=server.password,
    table_name="{destination}",
    schema_auto_update=False,
    include_metadata=False,
)
feed = application.topic("{feed}", value_deserializer="json")
application.dataframe(feed).sink(table)
application.run()
