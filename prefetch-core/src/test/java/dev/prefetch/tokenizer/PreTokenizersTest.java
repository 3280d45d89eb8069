package dev.prefetch.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;
import static org.junit.jupiter.params.provider.Arguments.arguments;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** Compares the hand-written splitters with the regular expressions of the models' own tokenizers. */
class PreTokenizersTest {

    private static final String GPT2 =
            "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
    private static final String CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
    private static final String SPACE = "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    private static final String SYMBOLS = "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*";
    private static final String LETTERS = "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+";
    private static final String CASED_1 =
            "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+";
    private static final String CASED_2 =
            "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*";
    private static final String DEEPSEEK_V3 = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
            + "|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*" + SPACE;
    private static final String DEEPSEEK_LETTERS = "[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-Ֆ"
            + "Ⴀ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-\u1F15\u1F18-\u1F1D\u1F20-\u1F45\u1F48-\u1F4D\u1F50-\u1F57\u1F59"
            + "\u1F5B\u1F5D\u1F5F-\u1F7D\u1F80-\u1FB4\u1FB6-\u1FBC\u1FBE\u1FC2-\u1FC4\u1FC6-\u1FCC\u1FD0-\u1FD3"
            + "\u1FD6-\u1FDB\u1FE0-\u1FEC\u1FF2-\u1FF4\u1FF6-\u1FFCℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212A-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳ"
            + "Ꙁ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]";

    private static final String GPT4O = CASED_1 + CONTRACTIONS + "?|" + CASED_2 + CONTRACTIONS
            + "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" + SPACE;

    static Stream<Arguments> expressions() {
        return Stream.of(
                arguments("gpt-2", List.of(GPT2)),
                arguments("starcoder", List.of("\\p{N}", GPT2)),
                arguments("llama-bpe", List.of(CONTRACTIONS + "|" + LETTERS + "|\\p{N}{1,3}" + SYMBOLS + SPACE)),
                arguments("qwen2", List.of(CONTRACTIONS + "|" + LETTERS + "|\\p{N}" + SYMBOLS + SPACE)),
                arguments(
                        "bailingmoe",
                        List.of("'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}"
                                + "| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+")),
                arguments(
                        "qwen35",
                        List.of(CONTRACTIONS + "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}"
                                + "| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*" + SPACE)),
                arguments(
                        "seed-coder",
                        List.of(CONTRACTIONS + "|" + LETTERS + "|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+" + SPACE)),
                arguments("ufakzeka", List.of(LETTERS + "|\\p{N}" + SYMBOLS + SPACE)),
                arguments(
                        "minicpm5",
                        List.of("\\p{N}{1,3}", CONTRACTIONS + "|" + LETTERS + "|\\p{N}+" + SYMBOLS + SPACE)),
                arguments(
                        "tekken", List.of(CASED_1 + "|" + CASED_2 + "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" + SPACE)),
                arguments("gpt-4o", List.of(GPT4O)),
                arguments(
                        "deepseek-llm",
                        List.of(
                                "[\r\n]",
                                "\\s?" + DEEPSEEK_LETTERS + "+",
                                "\\s?[!-/:-~！-／：-～‘-‟　-。]+",
                                "\\s+\\z",
                                "[一-龥ࠀ-一가-\uD7FF]+",
                                "\\p{N}+")),
                arguments(
                        "deepseek-coder",
                        List.of("[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[一-龥ࠀ-一가-\uD7FF]+", "\\p{N}")),
                arguments(
                        "laguna",
                        List.of("[^\\n]+|[\\n]+", CONTRACTIONS + "|" + LETTERS + "|\\p{N}" + SYMBOLS + SPACE)),
                arguments("granite-embed-multi-97m", List.of(GPT4O)),
                arguments(
                        "kimi-k2",
                        List.of("\\p{IsHan}+|" + besideHan(CASED_1) + CONTRACTIONS + "?|" + besideHan(CASED_2)
                                + CONTRACTIONS + "?|\\p{N}{1,3}" + SYMBOLS + SPACE)),
                arguments(
                        "afmoe",
                        List.of(
                                "\\p{N}{1,3}(?=(?:\\p{N}{3})*(?!\\p{N}))",
                                "[一-鿿㐀-䶿\uF900-\uFAFF\u3040-ゟ゠-ヿ･-ﾟ⼀-\u2FDFเ-\u0E7F\u0E80-\u0EFFក-\u17FFက-႟ꩠ-ꩿ"
                                        + "ꧠ-\uA9FF가-\uD7AFᄀ-ᇿ]+",
                                DEEPSEEK_V3)),
                arguments("deepseek-v3", List.of("\\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+", DEEPSEEK_V3)),
                arguments(
                        "spark2_5",
                        List.of(
                                "\\p{N}{1,3}",
                                "[一-龥\u3040-ゟ゠-ヿ]+",
                                DEEPSEEK_V3
                                        .replace("[\\p{P}\\p{S}]+[\\r\\n]*", "[\\p{P}\\p{S}]+")
                                        .replace("\\s*[\\r\\n]+", "[\\r\\n]"),
                                "\\p{N}")),
                arguments(
                        "jais-2",
                        List.of(CONTRACTIONS + "|" + LETTERS + "|\\p{N}{1,3}" + SYMBOLS
                                + "|\\s*[\\r\\n]+|\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)|\\s{64}(?!\\S)"
                                + "|\\s{32}(?!\\S)|\\s{16}(?!\\S)|\\s{8}(?!\\S)|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s{1}")),
                arguments("tiny_aya", List.of("\\d{1,3}(?=(?:\\d{3})*\\b)", GPT4O)),
                arguments(
                        "youtu",
                        List.of(
                                "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥\u3040-ゟ゠-ヿ]+",
                                GPT4O.replace("\\p{N}{1,3}", "\\p{N}"))),
                arguments(
                        "exaone-moe",
                        List.of(CONTRACTIONS + "|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}"
                                + "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+")),
                arguments("superbpe", List.of("\\p{N}+", "(?=(\\d{3})+(?!\\d))")),
                arguments("gemma4", List.of("[^\\n]+|[\\n]+")),
                arguments("sarvam-moe", List.of("[^\\n]+|[\\n]+")),
                arguments("whitespace", List.of("\\S+")),
                arguments(
                        "chameleon",
                        List.of(
                                "<sentinel:[0-9]+>",
                                "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
                                "([\\t\\n]|    |  )",
                                "\\p{N}",
                                "[\\p{P}!-/:-@\\[-`{-~]",
                                GPT2)),
                arguments("falcon", List.of("[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]")),
                arguments("default", List.of("[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]")),
                arguments("bloom", List.of(" ?[^(\\s|.,!?…。，、।۔،)]+")),
                arguments("viking", List.of(" ?[^(\\s|.,!?…。，、।۔،)]+", "\\p{N}")));
    }

    private static String besideHan(String cased) {
        return cased.replace("\\p{M}]", "\\p{M}&&[^\\p{IsHan}]]");
    }

    @ParameterizedTest
    @MethodSource("expressions")
    void cutsLikeTheModelsOwnExpression(String name, List<String> expressions) {
        List<Pattern> patterns = expressions.stream()
                .map(expression -> Pattern.compile(expression, Pattern.UNICODE_CHARACTER_CLASS))
                .toList();
        long seed = 20_26;
        Random random = new Random(seed);
        for (int i = 0; i < 4000; i++) {
            String text = Texts.splittable(random);
            assertThat(pieces(PreTokenizers.named(name).orElseThrow(), text))
                    .as("seed %d, text %d: '%s'", seed, i, text)
                    .isEqualTo(pieces(patterns, text));
        }
    }

    @Test
    void comparesEveryPreTokenizerOfTheTable() {
        Set<PreTokenizer> compared = new HashSet<>();
        expressions()
                .forEach(arguments -> compared.add(
                        PreTokenizers.named((String) arguments.get()[0]).orElseThrow()));
        // One expression, listed with other flags than llama-bpe.
        compared.add(PreTokenizers.named("dbrx").orElseThrow());
        for (String name : PreTokenizers.names()) {
            assertThat(compared).as(name).contains(PreTokenizers.named(name).orElseThrow());
        }
    }

    @Test
    void cutsLongWhiteSpaceLikeTheModelsOwnExpression() {
        String name = "jais-2";
        List<?> expressions = (List<?>) expressions()
                .filter(arguments -> arguments.get()[0].equals(name))
                .findAny()
                .orElseThrow()
                .get()[1];
        List<Pattern> patterns =
                List.of(Pattern.compile((String) expressions.getFirst(), Pattern.UNICODE_CHARACTER_CLASS));
        for (int length = 0; length < 1100; length++) {
            for (String behind : List.of("", "a", "1", "!", "\n", "\n  a")) {
                String text = "x" + " ".repeat(length) + behind;
                assertThat(pieces(PreTokenizers.named(name).orElseThrow(), text))
                        .as("%d spaces and '%s'", length, behind)
                        .isEqualTo(pieces(patterns, text));
            }
        }
    }

    @Test
    void knowsEveryWhiteSpaceOfUnicode() {
        Pattern whiteSpace = Pattern.compile("\\p{IsWhite_Space}");
        for (int c = 0; c <= Character.MAX_CODE_POINT; c++) {
            assertThat(CharacterClass.isWhiteSpace(c))
                    .as("U+%04X", c)
                    .isEqualTo(whiteSpace.matcher(Character.toString(c)).matches());
        }
    }

    @Test
    void knowsTheLettersOfDeepseek() {
        Pattern letters = Pattern.compile(DEEPSEEK_LETTERS);
        for (int c = 0; c <= Character.MAX_CODE_POINT; c++) {
            assertThat(DeepseekLetters.CLASS.contains(c))
                    .as("U+%04X", c)
                    .isEqualTo(letters.matcher(Character.toString(c)).matches());
        }
    }

    @Test
    void takesLinearTimeForOneRepeatedCharacter() {
        // Quadratic time would be 10^10 steps for each; linear time is far below a second for all.
        int length = 200_000;
        Set<PreTokenizer> all = new HashSet<>();
        PreTokenizers.names().forEach(name -> all.add(PreTokenizers.named(name).orElseThrow()));
        for (String unit : List.of(
                "a",
                "A",
                "中",
                "\u0301",
                "1",
                " ",
                "\n",
                " \t",
                "!",
                "'",
                "aA",
                "\u0301A",
                "\0",
                "a ",
                "1a",
                "<sentinel:1",
                "IMGIMGA")) {
            int[] text = (unit.repeat(length) + "x").codePoints().toArray();
            for (PreTokenizer preTokenizer : all) {
                IntList ends = assertTimeoutPreemptively(Duration.ofSeconds(30), () -> preTokenizer.split(text));
                assertThat(ends.get(ends.size() - 1)).isEqualTo(text.length);
            }
        }
    }

    private static List<String> pieces(PreTokenizer preTokenizer, String text) {
        int[] codePoints = text.codePoints().toArray();
        IntList ends = preTokenizer.split(codePoints);
        List<String> pieces = new ArrayList<>();
        int from = 0;
        for (int end : ends.toArray()) {
            pieces.add(new String(codePoints, from, end - from));
            from = end;
        }
        return pieces;
    }

    private static List<String> pieces(List<Pattern> patterns, String text) {
        List<String> pieces = text.isEmpty() ? List.of() : List.of(text);
        for (Pattern pattern : patterns) {
            List<String> finer = new ArrayList<>();
            for (String piece : pieces) {
                Matcher matcher = pattern.matcher(piece);
                int done = 0;
                while (matcher.find()) {
                    finer.addAll(nonEmpty(piece.substring(done, matcher.start()), matcher.group()));
                    done = matcher.end();
                }
                finer.addAll(nonEmpty(piece.substring(done)));
            }
            pieces = finer;
        }
        return pieces;
    }

    private static List<String> nonEmpty(String... texts) {
        return Arrays.stream(texts).filter(text -> !text.isEmpty()).toList();
    }
}
