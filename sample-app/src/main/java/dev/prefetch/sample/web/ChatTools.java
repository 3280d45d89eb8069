package dev.prefetch.sample.web;

import java.math.BigDecimal;
import java.time.Clock;
import java.time.ZoneId;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.util.Locale;
import java.util.Optional;
import java.util.TreeSet;
import org.springframework.ai.tool.annotation.Tool;
import org.springframework.stereotype.Component;

/** What the model may call when the page lets it: a clock and a calculator, which it has not inside. */
@Component
class ChatTools {

    private static final DateTimeFormatter TIME = DateTimeFormatter.ofPattern("HH:mm", Locale.ROOT);

    private final Clock clock;

    ChatTools() {
        this(Clock.systemUTC());
    }

    ChatTools(Clock clock) {
        this.clock = clock;
    }

    @Tool(description = "Tells the current time of a city")
    String getTime(String city) {
        return zone(city)
                .map(zone -> TIME.format(ZonedDateTime.now(clock.withZone(zone))))
                .orElse("unknown: no time zone is named after " + city);
    }

    /** Time zones are named after their largest city, for example America/New_York. */
    private static Optional<ZoneId> zone(String city) {
        String name = city.strip().replace(' ', '_');
        return new TreeSet<>(ZoneId.getAvailableZoneIds())
                .stream()
                        .filter(id -> id.substring(id.lastIndexOf('/') + 1).equalsIgnoreCase(name))
                        .findFirst()
                        .map(ZoneId::of);
    }

    @Tool(description = "Multiply two numbers")
    String product(BigDecimal a, BigDecimal b) {
        return a.multiply(b).toPlainString();
    }
}
