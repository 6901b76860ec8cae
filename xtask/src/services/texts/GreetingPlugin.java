import java.util.List;
import java.util.Map;
import java.util.function.Predicate;
import java.util.function.Supplier;
import org.elasticsearch.Build;
import org.elasticsearch.client.internal.node.NodeClient;
import org.elasticsearch.cluster.metadata.IndexNameExpressionResolver;
import org.elasticsearch.cluster.node.DiscoveryNodes;
import org.elasticsearch.common.io.stream.NamedWriteableRegistry;
import org.elasticsearch.common.settings.ClusterSettings;
import org.elasticsearch.common.settings.IndexScopedSettings;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.common.settings.SettingsFilter;
import org.elasticsearch.features.NodeFeature;
import org.elasticsearch.ingest.AbstractProcessor;
import org.elasticsearch.ingest.ConfigurationUtils;
import org.elasticsearch.ingest.IngestDocument;
import org.elasticsearch.ingest.Processor;
import org.elasticsearch.plugins.ActionPlugin;
import org.elasticsearch.plugins.IngestPlugin;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.rest.BaseRestHandler;
import org.elasticsearch.rest.RestController;
import org.elasticsearch.rest.RestHandler;
import org.elasticsearch.rest.RestRequest;
import org.elasticsearch.rest.RestResponse;
import org.elasticsearch.rest.RestStatus;

/**
 * Answers "GET /", by which clients know the version, and drops documents in ingest pipelines: the
 * modules that do are not published.
 */
public class GreetingPlugin extends Plugin implements ActionPlugin, IngestPlugin {
    private static final String ANSWER = "{\"name\":\"one\",\"cluster_name\":\"tests\","
            + "\"cluster_uuid\":\"tests\",\"version\":{\"number\":\"" + Build.current().version()
            + "\",\"build_flavor\":\"default\"},\"tagline\":\"You Know, for Search\"}";

    public List<RestHandler> getRestHandlers(Settings settings, NamedWriteableRegistry registry,
            RestController controller, ClusterSettings cluster, IndexScopedSettings index,
            SettingsFilter filter, IndexNameExpressionResolver resolver,
            Supplier<DiscoveryNodes> nodes, Predicate<NodeFeature> features) {
        return List.of(new Greeting());
    }

    public Map<String, Processor.Factory> getProcessors(Processor.Parameters parameters) {
        return Map.of("drop_value", (others, tag, description, settings) ->
                new DropValue(tag, description,
                        ConfigurationUtils.readStringProperty("drop_value", tag, settings, "field"),
                        ConfigurationUtils.readStringProperty("drop_value", tag, settings, "value")));
    }

    /** Drops documents with a value in a field, as the processor "drop" does on a condition. */
    private static class DropValue extends AbstractProcessor {
        private final String field;
        private final String value;

        DropValue(String tag, String description, String field, String value) {
            super(tag, description);
            this.field = field;
            this.value = value;
        }

        public IngestDocument execute(IngestDocument document) {
            String found = document.getFieldValue(field, String.class, true);
            return value.equals(found) ? null : document;
        }

        public String getType() {
            return "drop_value";
        }
    }

    private static class Greeting extends BaseRestHandler {
        public String getName() {
            return "greeting";
        }

        public List<Route> routes() {
            return List.of(new Route(RestRequest.Method.GET, "/"),
                    new Route(RestRequest.Method.HEAD, "/"));
        }

        protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) {
            return channel -> channel.sendResponse(
                    new RestResponse(RestStatus.OK, "application/json", ANSWER));
        }
    }
}
