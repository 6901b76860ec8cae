import java.nio.file.Path;
import java.util.Map;
import java.util.Set;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginsLoader;

/** One Elasticsearch node. Arguments: modules folder, data folder, HTTP port, transport port. */
public class ElasticsearchServer {
    public static void main(String[] arguments) throws Exception {
        LogConfigurator.configureESLogging();
        Path home = Path.of(arguments[1]).toAbsolutePath();
        Settings settings = Settings.builder().put("path.home", home.toString())
                .put("path.data", home + "/data").put("path.logs", home + "/logs")
                .put("cluster.name", "tests").put("node.name", "one")
                .put("network.host", "127.0.0.1").put("http.port", arguments[2])
                .put("transport.port", arguments[3]).put("discovery.type", "single-node")
                .put("cluster.routing.allocation.disk.threshold_enabled", false).build();
        Environment environment = new Environment(settings, home.resolve("config"));
        var modules = PluginsLoader.loadModulesBundles(Path.of(arguments[0]));
        Node node = new Node(environment,
                PluginsLoader.createPluginsLoader(modules, Set.of(), Map.of(), false));
        node.start();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                node.close();
            } catch (Exception error) {
                error.printStackTrace();
            }
        }));
        Thread.currentThread().join();
    }
}
