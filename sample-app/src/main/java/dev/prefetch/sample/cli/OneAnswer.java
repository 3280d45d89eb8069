package dev.prefetch.sample.cli;

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import tools.jackson.databind.json.JsonMapper;

/** A conversation of one message with the web chat of this process, as its page holds it. */
final class OneAnswer {

    private static final String MESSAGE = "Who are you?";

    private OneAnswer() {}

    /** @throws IOException when the chat does not answer */
    static void of(int port) throws IOException, InterruptedException {
        URI conversations = URI.create("http://127.0.0.1:" + port + "/api/conversations");
        JsonMapper json = new JsonMapper();
        try (HttpClient client = HttpClient.newHttpClient()) {
            String started = send(client, post(conversations, ""));
            String id = json.readTree(started).get("id").asString();
            String events = send(
                    client, post(URI.create(conversations + "/" + id + "/messages"), "{\"text\":\"" + MESSAGE + "\"}"));
            if (!events.contains("event:done")) {
                throw new IOException("the answer has no end: " + events);
            }
        }
    }

    private static HttpRequest post(URI uri, String body) {
        return HttpRequest.newBuilder(uri)
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body))
                .build();
    }

    private static String send(HttpClient client, HttpRequest request) throws IOException, InterruptedException {
        HttpResponse<String> response = client.send(request, HttpResponse.BodyHandlers.ofString());
        if (response.statusCode() / 100 != 2) {
            throw new IOException(request.uri() + " answered " + response.statusCode() + ": " + response.body());
        }
        return response.body();
    }
}
