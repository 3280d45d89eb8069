package dev.prefetch.sample.web;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** The chat's HTTP interface as a client sees it. */
final class ChatHttpClient implements AutoCloseable {

    private final HttpClient http = HttpClient.newHttpClient();
    private final URI root;

    ChatHttpClient(int port) {
        this.root = URI.create("http://127.0.0.1:" + port + "/");
    }

    JsonNode get(String path) throws IOException, InterruptedException {
        return json(send(HttpRequest.newBuilder(root.resolve(path)).build()));
    }

    String startConversation() throws IOException, InterruptedException {
        HttpResponse<String> response = post("api/conversations", null);
        return json(response).get("id").asString();
    }

    JsonNode messages(String conversation) throws IOException, InterruptedException {
        return get("api/conversations/" + conversation + "/messages");
    }

    HttpResponse<String> post(String path, @Nullable Object body) throws IOException, InterruptedException {
        return send(request(path, body).build());
    }

    HttpResponse<String> delete(String path) throws IOException, InterruptedException {
        return send(HttpRequest.newBuilder(root.resolve(path)).DELETE().build());
    }

    /** Asks and reads the stream to its end. */
    Answer ask(String conversation, String text) throws IOException, InterruptedException {
        try (AnswerStream stream = open(conversation, text)) {
            return stream.rest();
        }
    }

    /** Asks and leaves the reading to the caller. */
    AnswerStream open(String conversation, String text) throws IOException, InterruptedException {
        HttpRequest request = request("api/conversations/" + conversation + "/messages", Map.of("text", text))
                .header("Accept", "text/event-stream")
                .build();
        HttpResponse<InputStream> response = http.send(request, HttpResponse.BodyHandlers.ofInputStream());
        if (response.statusCode() != 200) {
            throw new AssertionError("status " + response.statusCode());
        }
        return new AnswerStream(response.body());
    }

    private HttpRequest.Builder request(String path, @Nullable Object body) {
        String json = body == null ? "" : JsonMapper.shared().writeValueAsString(body);
        return HttpRequest.newBuilder(root.resolve(path))
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(json));
    }

    private HttpResponse<String> send(HttpRequest request) throws IOException, InterruptedException {
        return http.send(request, HttpResponse.BodyHandlers.ofString());
    }

    static JsonNode json(HttpResponse<String> response) {
        return JsonMapper.shared().readTree(response.body());
    }

    @Override
    public void close() {
        http.shutdownNow();
        http.close();
    }

    /**
     * @param deltas the parts of the text, in order
     * @param last the closing event
     * @param lastName its name
     */
    record Answer(List<String> deltas, String lastName, JsonNode last) {

        String text() {
            return String.join("", deltas);
        }
    }

    /** A text/event-stream that is being read. Closing it closes the connection. */
    static final class AnswerStream implements AutoCloseable {

        private final InputStream body;
        private final BufferedReader lines;

        AnswerStream(InputStream body) {
            this.body = body;
            this.lines = new BufferedReader(new InputStreamReader(body, StandardCharsets.UTF_8));
        }

        /** Waits for the next line that starts so, and returns what follows. */
        String next(String prefix) throws IOException {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                if (line.startsWith(prefix)) {
                    return line.substring(prefix.length());
                }
            }
            throw new AssertionError("the stream ended before a line that starts with " + prefix);
        }

        /** Reads up to and including the closing event, and checks that nothing follows. */
        Answer rest() throws IOException {
            List<String> deltas = new ArrayList<>();
            for (; ; ) {
                String name = next("event:");
                JsonNode data = JsonMapper.shared().readTree(next("data:"));
                if (!name.equals("delta")) {
                    if (lines.lines().anyMatch(line -> line.startsWith("event:"))) {
                        throw new AssertionError("an event follows the closing one");
                    }
                    return new Answer(deltas, name, data);
                }
                deltas.add(data.get("text").asString());
            }
        }

        @Override
        public void close() throws IOException {
            body.close();
        }
    }
}
