package dev.prefetch.grammar;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Set;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class GrammarTest {

    @Test
    void untilEndsAtTheFirstOccurrence() {
        Grammar grammar = Grammar.until("</t>").then(Grammar.text("!"));

        assertThat(List.of("</t>!", "abc</t>!", "</</t>!", "<</t</t>!", "日本</t>!"))
                .allMatch(text -> Texts.matches(grammar, text));
        assertThat(List.of("!", "</t>", "</t>a</t>!", "</t!")).noneMatch(text -> Texts.matches(grammar, text));
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = ';',
            quoteCharacter = '`',
            value = {
                "root ::= \"a\" \"b\"* ; ab ; abc",
                "root ::= \"a\"+ | \"b\"? ; aa ; ab",
                "root ::= [a-c] [^a-c] ; bx ; bc",
                "root ::= [a-] . ; -é ; b-",
                "root ::= (\"x\" | y){2,3} # comment ~y ::= \"y\" ; xyx ; x",
                "root ::= \"a\"{2} ; aa ; aaa",
                "root ::= \"a\"{2,} ; aaaaa ; a",
                "root ::= [α-ω]+ ; λογος ; logos",
                "root ::= \"\\x41\\u00e9\\\"\" ; Aé\" ; Ae",
                "root ::= (~  \"a\" |~  \"b\"~) ; b ; c",
                "root ::= e~e ::= \"(\" e \")\" | \"x\" ; ((x)) ; ((x)"
            })
    void readsGbnf(String source, String valid, String invalid) {
        Grammar grammar = Grammar.gbnf(source.replace('~', '\n'));

        assertThat(Texts.matches(grammar, valid)).isTrue();
        assertThat(Texts.matches(grammar, invalid)).isFalse();
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = ';',
            quoteCharacter = '`',
            value = {
                "root ::= nope ; 'nope' is used, but not defined",
                "other ::= \"a\" ; no rule 'root'",
                "root = \"a\" ; line 1: '::=' expected",
                "root ::= \"a ; expected",
                "root ::= (\"a\" ; ')' expected",
                "root ::= [z-a] ; ends before it begins",
                "root ::= root \"a\" | \"b\" ; must not begin with itself",
                "root ::= \"a\"{9999} ; at most 4096",
                "root ::= \"\\q\" ; unknown escape"
            })
    void saysWhatIsWrongWithGbnf(String source, String message) {
        assertThatThrownBy(() -> Grammar.gbnf(source))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining(message);
    }

    /** Classes of characters are cut into ranges of bytes; every character has to be on the right side of the cut. */
    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
    void characterClassesHoldExactlyTheirCharacters(int seed) {
        SplittableRandom random = new SplittableRandom(seed);
        int from = random.nextInt(0x20, seed % 2 == 0 ? 0x1000 : 0x10FF00);
        int to = Math.min(0x10FFFF, from + random.nextInt(1 << random.nextInt(1, 16)));
        boolean surrogate = from >= 0xD800 && from <= 0xDFFF || to >= 0xD800 && to <= 0xDFFF;
        if (surrogate) {
            from = 0xE000;
            to = 0xE123;
        }
        Grammar grammar = Grammar.gbnf("root ::= [\\U%08x-\\U%08x]".formatted(from, to));

        for (int i = 0; i < 2000; i++) {
            int near = random.nextBoolean() ? from : to;
            int c = Math.clamp(near + random.nextInt(-300, 300), 0x20, 0x10FFFF);
            if (c < 0xD800 || c > 0xDFFF) {
                assertThat(Texts.matches(grammar, Character.toString(c)))
                        .as("%x in %x-%x", c, from, to)
                        .isEqualTo(c >= from && c <= to);
            }
        }
    }

    private static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    /** A vocabulary with pieces of characters, tokens with the same bytes, control tokens and an end. */
    private static TokenVocabulary vocabulary(byte[][] tokens, String[] control, int end) {
        return new TokenVocabulary(tokens, control, Set.of(end));
    }

    @Test
    void theMaskIsWhatTryingEveryTokenGives() {
        SplittableRandom random = new SplittableRandom(7);
        byte[][] tokens = new byte[600][];
        for (int token = 0; token < tokens.length; token++) {
            tokens[token] = token < 256 ? new byte[] {(byte) token} : randomPiece(random);
        }
        int end = 599;
        TokenVocabulary vocabulary = vocabulary(tokens, new String[tokens.length], end);
        Grammar grammar = Grammar.jsonSchema("{\"type\":\"object\",\"properties\":{\"ab\":{\"type\":\"string\"},"
                + "\"n\":{\"type\":\"number\",\"minimum\":-3,\"maximum\":12.5}},\"required\":[\"n\"]}");
        GrammarMask mask = new GrammarMask(grammar, vocabulary);

        for (int round = 0; round < 20; round++) {
            GrammarMask.Text text = mask.begin();
            StringBuilder spelled = new StringBuilder();
            for (int step = 0; step < 30; step++) {
                float[] logits = new float[tokens.length];
                text.mask(logits);
                for (int token = 0; token < tokens.length; token++) {
                    boolean expected = token == end
                            ? Texts.matches(grammar, spelled.toString())
                            : beginsBytes(grammar, spelled, tokens[token]);
                    assertThat(logits[token] == 0)
                            .as("token %d after %s", token, spelled)
                            .isEqualTo(expected);
                }
                int chosen = choose(logits, random, tokens, end);
                if (chosen < 0) {
                    break;
                }
                text.accept(chosen);
                spelled.append(new String(tokens[chosen], StandardCharsets.ISO_8859_1));
            }
        }
    }

    private static byte[] randomPiece(SplittableRandom random) {
        String alphabet = "{}\"ab n:,.-0123456789\\";
        byte[] piece = new byte[1 + random.nextInt(4)];
        for (int i = 0; i < piece.length; i++) {
            piece[i] = (byte) alphabet.charAt(random.nextInt(alphabet.length()));
        }
        return piece;
    }

    /** ASCII tokens only are chosen, so that the text so far can be kept as a string. */
    private static int choose(float[] logits, SplittableRandom random, byte[][] tokens, int end) {
        for (int attempt = 0; attempt < 20_000; attempt++) {
            int token = random.nextInt(tokens.length);
            if (token != end && logits[token] == 0 && tokens[token][0] >= 0) {
                return token;
            }
        }
        return -1;
    }

    private static boolean beginsBytes(Grammar grammar, StringBuilder before, byte[] token) {
        byte[] start = before.toString().getBytes(StandardCharsets.ISO_8859_1);
        byte[] whole = java.util.Arrays.copyOf(start, start.length + token.length);
        System.arraycopy(token, 0, whole, start.length, token.length);
        return !Texts.after(grammar, whole).isDead();
    }

    @Test
    void aControlTokenStandsForAMarkerAndForNothingElse() {
        byte[][] tokens = {utf8("<call>"), utf8("<end>"), utf8("x"), utf8("<"), utf8("call>")};
        TokenVocabulary vocabulary = vocabulary(tokens, new String[] {"<call>", "<end>", null, null, null}, 1);
        Grammar grammar = Grammar.marker("<call>").then(Grammar.text("x<call>"));
        GrammarMask.Text text = new GrammarMask(grammar, vocabulary).begin();

        float[] first = new float[5];
        text.mask(first);
        // As a control token, or spelled.
        assertThat(first)
                .containsExactly(0, Float.NEGATIVE_INFINITY, Float.NEGATIVE_INFINITY, 0, Float.NEGATIVE_INFINITY);
        text.accept(0);
        text.accept(2);
        float[] then = new float[5];
        text.mask(then);
        // The text "<call>" is no marker: only its letters spell it.
        assertThat(then)
                .containsExactly(
                        Float.NEGATIVE_INFINITY,
                        Float.NEGATIVE_INFINITY,
                        Float.NEGATIVE_INFINITY,
                        0,
                        Float.NEGATIVE_INFINITY);
        text.accept(3);
        text.accept(4);
        float[] last = new float[5];
        text.mask(last);
        assertThat(last[1]).isZero();
        assertThat(text.mayEnd()).isTrue();
        assertThatThrownBy(() -> text.accept(2)).isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void saysWhenTheVocabularyCannotSpellTheGrammar() {
        TokenVocabulary vocabulary =
                vocabulary(new byte[][] {utf8("a"), utf8("<end>")}, new String[] {null, "<end>"}, 1);
        GrammarMask.Text text = new GrammarMask(Grammar.text("b"), vocabulary).begin();

        assertThatThrownBy(() -> text.mask(new float[2]))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("cannot spell");
    }
}
