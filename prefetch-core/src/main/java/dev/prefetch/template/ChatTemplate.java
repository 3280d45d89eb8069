package dev.prefetch.template;

import dev.prefetch.template.TemplateException.Kind;
import java.time.Clock;
import java.time.ZonedDateTime;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.UnaryOperator;

/**
 * A parsed chat template: the Jinja that Hugging Face models carry, as an interpreter of its own.
 *
 * <p>It renders what jinja2 3.1 renders as Hugging Face configures it: sandboxed, {@code trim_blocks},
 * {@code lstrip_blocks}, {@code break} and {@code continue}, {@code tojson} as plain JSON, {@code raise_exception} and
 * {@code strftime_now}. Everything that reaches outside the template ({@code include}, {@code import}, {@code extends})
 * is refused when parsing, as is every tag that is not Jinja's own ({@code generation}, {@code trans}).
 *
 * <p>A template comes from a model file and is not trusted. It sees no Java object, it cannot change the variables, and
 * what one rendering may use is bounded by {@link TemplateLimits}.
 *
 * <p>Immutable and safe for use by many threads.
 */
public final class ChatTemplate {

    private static final int MAX_SOURCE_CHARS = 1 << 20;

    private final String source;
    private final List<Statement> body;
    private final TemplateLimits limits;
    private final UnaryOperator<String> currentTime;

    private ChatTemplate(
            String source, List<Statement> body, TemplateLimits limits, UnaryOperator<String> currentTime) {
        this.source = source;
        this.body = body;
        this.limits = limits;
        this.currentTime = currentTime;
    }

    /**
     * Parses a template, with {@link TemplateLimits#defaults()} and the system's clock.
     *
     * @throws TemplateException of kind {@link Kind#SYNTAX} where the source is not a template, and of kind
     *     {@link Kind#LIMIT} where it is longer than 1 Mi characters or nests deeper than 100 levels
     */
    public static ChatTemplate parse(String source) {
        Objects.requireNonNull(source, "source");
        if (source.length() > MAX_SOURCE_CHARS) {
            throw new TemplateException(
                    Kind.LIMIT,
                    "the template has " + source.length() + " characters, more than the limit of " + MAX_SOURCE_CHARS,
                    Position.START);
        }
        List<Statement> body = new Parser(new Lexer(source).tokenize()).parseTemplate();
        Clock clock = Clock.systemDefaultZone();
        return new ChatTemplate(source, body, TemplateLimits.defaults(), timeOf(clock));
    }

    /** The same template with other limits. */
    public ChatTemplate withLimits(TemplateLimits newLimits) {
        return new ChatTemplate(source, body, Objects.requireNonNull(newLimits, "newLimits"), currentTime);
    }

    /** The same template with another clock for {@code strftime_now}; the clock's zone is the local one. */
    public ChatTemplate withClock(Clock clock) {
        return withCurrentTime(timeOf(Objects.requireNonNull(clock, "clock")));
    }

    /** The same template with another {@code strftime_now}: a format to the present in that format. */
    ChatTemplate withCurrentTime(UnaryOperator<String> formatter) {
        return new ChatTemplate(source, body, limits, formatter);
    }

    private static UnaryOperator<String> timeOf(Clock clock) {
        return format -> Strftime.format(format, ZonedDateTime.now(clock));
    }

    /** The template as it was given to {@link #parse}. */
    public String source() {
        return source;
    }

    /**
     * Renders the template.
     *
     * @param variables {@code messages}, {@code tools}, {@code add_generation_prompt}, {@code bos_token} and whatever
     *     else the template reads. Values are {@link String}, {@link InputText}, {@link Boolean}, {@link Number},
     *     {@code null}, {@link java.util.Collection} and {@link Map} (in iteration order), nested at will
     * @return the text, with the characters that came from {@link InputText} told apart
     * @throws TemplateException if an operation fails, the template calls {@code raise_exception}, or a limit is
     *     exceeded; see {@link TemplateException#kind()}
     * @throws IllegalArgumentException if a variable contains an object of another type
     */
    public RenderedText render(Map<String, ?> variables) {
        Evaluator evaluator = null;
        try {
            Values.Importer importer = new Values.Importer();
            Map<String, Object> root = HashMap.newHashMap(variables.size() + 8);
            variables.forEach((name, value) -> root.put(name, importer.convert(name, value)));
            evaluator = new Evaluator(new Budget(limits, importer.chars()), currentTime);
            return new RenderedText(new Renderer(evaluator).capture(body, new Scope(root)));
        } catch (TemplateFault fault) {
            throw fault.at(evaluator == null ? Position.START : evaluator.position());
        } catch (StackOverflowError e) {
            // The depth limit is meant to come first; a caller on an unusually small stack gets here instead.
            throw TemplateFault.limit("the template nests deeper than the stack of this thread allows")
                    .at(evaluator == null ? Position.START : evaluator.position());
        }
    }
}
