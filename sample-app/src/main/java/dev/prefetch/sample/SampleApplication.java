package dev.prefetch.sample;

import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.context.event.ApplicationReadyEvent;
import org.springframework.boot.context.properties.ConfigurationPropertiesScan;
import org.springframework.context.event.EventListener;

/** The web chat. Started by {@code prefetch serve}. */
@SpringBootApplication
@ConfigurationPropertiesScan
public class SampleApplication {

    private static final Logger log = LoggerFactory.getLogger(SampleApplication.class);

    /** Says where the page is, once it is there. */
    @EventListener
    void announce(ApplicationReadyEvent ready) {
        log.info(
                "Chat page: http://localhost:{}",
                ready.getApplicationContext().getEnvironment().getProperty("local.server.port"));
    }
}
