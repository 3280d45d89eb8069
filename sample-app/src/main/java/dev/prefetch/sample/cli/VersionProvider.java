package dev.prefetch.sample.cli;

import java.io.IOException;
import java.io.InputStream;
import java.util.Properties;
import picocli.CommandLine.IVersionProvider;

/** The version the build wrote into the application. */
final class VersionProvider implements IVersionProvider {

    private static final String BUILD_INFO = "/META-INF/build-info.properties";

    @Override
    public String[] getVersion() throws IOException {
        Properties properties = new Properties();
        try (InputStream buildInfo = VersionProvider.class.getResourceAsStream(BUILD_INFO)) {
            // Absent when an IDE compiled the classes.
            if (buildInfo != null) {
                properties.load(buildInfo);
            }
        }
        return new String[] {
            "prefetch " + properties.getProperty("build.version", "(development build)"),
            "Java " + Runtime.version() + ", " + System.getProperty("os.name") + " " + System.getProperty("os.arch")
        };
    }
}
