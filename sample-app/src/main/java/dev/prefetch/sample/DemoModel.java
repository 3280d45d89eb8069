package dev.prefetch.sample;

import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.URISyntaxException;
import java.net.URL;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;

/** The small chat model that the application carries, so that it answers without any download. */
public final class DemoModel {

    /** Where it lies on the class path. */
    public static final String RESOURCE = "demo-model/tiny-demo-chat-Q8_0.gguf";

    private DemoModel() {}

    /**
     * The model as a file of its own. An engine maps its file, which is not possible inside a jar; from there the model,
     * 3 MB, is copied to a temporary file that is deleted when the JVM ends.
     *
     * @throws UncheckedIOException when the copy cannot be written
     */
    public static Path asFile() {
        try {
            URL resource = DemoModel.class.getClassLoader().getResource(RESOURCE);
            if (resource == null) {
                throw new FileNotFoundException("the demo model is not on the class path: " + RESOURCE);
            }
            if (resource.getProtocol().equals("file")) {
                return Path.of(toUri(resource));
            }
            Path copy = Files.createTempFile("prefetch-demo-", ".gguf");
            copy.toFile().deleteOnExit();
            try (InputStream content = resource.openStream()) {
                Files.copy(content, copy, StandardCopyOption.REPLACE_EXISTING);
            }
            return copy;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static URI toUri(URL url) throws IOException {
        try {
            return url.toURI();
        } catch (URISyntaxException e) {
            throw new IOException("unusable class path entry " + url, e);
        }
    }
}
