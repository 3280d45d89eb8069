package dev.prefetch.sample.web;

import static org.assertj.core.api.Assertions.assertThat;

import java.math.BigDecimal;
import java.time.Clock;
import java.time.Instant;
import java.time.ZoneOffset;
import org.junit.jupiter.api.Test;

class ChatToolsTest {

    private final ChatTools tools = new ChatTools(Clock.fixed(Instant.parse("2026-01-15T12:30:00Z"), ZoneOffset.UTC));

    @Test
    void tellsTheTimeOfACity() {
        assertThat(tools.getTime("Madrid")).isEqualTo("13:30");
        assertThat(tools.getTime("new york")).isEqualTo("07:30");
    }

    @Test
    void saysThatItDoesNotKnowACity() {
        assertThat(tools.getTime("Atlantis")).contains("no time zone").contains("Atlantis");
    }

    @Test
    void multiplies() {
        assertThat(tools.product(new BigDecimal("31"), new BigDecimal("7"))).isEqualTo("217");
        assertThat(tools.product(new BigDecimal("0.1"), new BigDecimal("3"))).isEqualTo("0.3");
    }
}
