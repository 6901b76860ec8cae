import org.codelibs.opensearch.runner.OpenSearchRunner;

/** One OpenSearch node. Arguments: folder, HTTP port, transport port. */
public class OpenSearchServer {
    public static void main(String[] arguments) throws Exception {
        OpenSearchRunner runner = new OpenSearchRunner();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                runner.close();
            } catch (Exception error) {
                error.printStackTrace();
            }
        }));
        runner.onBuild((number, settings) -> {
            settings.put("network.host", "127.0.0.1");
            settings.put("http.port", arguments[1]);
            settings.put("transport.port", arguments[2]);
            settings.put("discovery.type", "single-node");
            settings.put("cluster.routing.allocation.disk.threshold_enabled", false);
            // The runner leaves "ingest" out, without which pipelines fail.
            settings.putList("node.roles", "cluster_manager", "data", "ingest");
        }).build(OpenSearchRunner.newConfigs().basePath(arguments[0]).clusterName("tests")
                .numOfNode(1).disableESLogger());
        Thread.currentThread().join();
    }
}
