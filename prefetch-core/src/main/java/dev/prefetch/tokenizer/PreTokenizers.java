package dev.prefetch.tokenizer;

import static dev.prefetch.tokenizer.CharacterClass.LETTER;
import static dev.prefetch.tokenizer.CharacterClass.NUMBER;
import static dev.prefetch.tokenizer.CharacterClass.PUNCTUATION;
import static dev.prefetch.tokenizer.CharacterClass.ranges;
import static dev.prefetch.tokenizer.Splitter.each;

import dev.prefetch.tokenizer.PreTokenizer.Symbols;
import dev.prefetch.tokenizer.WordMatcher.Contractions;
import dev.prefetch.tokenizer.WordMatcher.Words;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;

/**
 * The table of pre-tokenizers by their name in {@code tokenizer.ggml.pre}. Each step's comment is the expression of the
 * model's own tokenizer that it stands for. They are written by hand because expressions with alternatives recurse, or
 * go back again and again, on hostile input.
 */
final class PreTokenizers {

    /** What is assumed for files from before the key existed. */
    static final String DEFAULT = "default";

    private static final int UNLIMITED = Integer.MAX_VALUE;

    /** {@code [一-龥ࠀ-一가-퟿]} */
    private static final CharacterClass DEEPSEEK_CJK = ranges(0x0800, 0x9FA5, 0xAC00, 0xD7FF);

    /** {@code [一-龥぀-ゟ゠-ヿ]} */
    private static final CharacterClass DEEPSEEK_V3_CJK = ranges(0x3040, 0x30FF, 0x4E00, 0x9FA5);

    /** {@code [一-鿿㐀-䶿豈-﫿぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿຀-໿ក-៿က-႟ꩠ-ꩿꧠ-꧿가-힯ᄀ-ᇿ]}: scripts that write no spaces */
    private static final CharacterClass AFMOE_SCRIPTS = ranges(
            0x0E40, 0x0EFF, 0x1000, 0x109F, 0x1100, 0x11FF, 0x1780, 0x17FF, 0x2F00, 0x2FDF, 0x3040, 0x30FF, 0x3400,
            0x4DBF, 0x4E00, 0x9FFF, 0xA9E0, 0xA9FF, 0xAA60, 0xAA7F, 0xAC00, 0xD7AF, 0xF900, 0xFAFF, 0xFF65, 0xFF9F);

    /** {@code [!-/:-~！-／：-～‘-‟　-。]} */
    private static final CharacterClass DEEPSEEK_PUNCTUATION =
            ranges(0x21, 0x2F, 0x3A, 0x7E, 0x2018, 0x201F, 0x3000, 0x3002, 0xFF01, 0xFF0F, 0xFF1A, 0xFF5E);

    /** What Youtu cuts out first: Hangul, punctuation, Bopomofo, and Han with kana. */
    private static final List<CharacterClass> YOUTU_SCRIPTS = List.of(
            ranges(0x3131, 0x318E, 0xAC00, 0xD7A3),
            ranges(
                    0x2014, 0x2014, 0x2018, 0x2019, 0x201C, 0x201D, 0x2026, 0x2026, 0x3001, 0x303F, 0xFE30, 0xFE4F,
                    0xFF01, 0xFF01, 0xFF0C, 0xFF0C, 0xFF1A, 0xFF1B),
            ranges(0x3105, 0x312F),
            DEEPSEEK_V3_CJK);

    /** {@code [$+<=>^~|]}, the ASCII symbols that count as punctuation, too, without the back quote. */
    private static final CharacterClass ASCII_SYMBOL = c -> c < 0x80 && "$+<=>^~|".indexOf(c) >= 0;

    /** {@code 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+} */
    private static final Splitter GPT2 = each(PreTokenizers::gpt2);

    /** {@code \p{N}} */
    private static final Splitter SINGLE_NUMBERS =
            each((text, position, to) -> Scan.run(NUMBER, 1, text, position, to));

    /** {@code \p{N}{1,3}} */
    private static final Splitter THREE_NUMBERS = each((text, position, to) -> Scan.run(NUMBER, 3, text, position, to));

    /** {@code [\r\n]} */
    private static final Splitter SINGLE_NEWLINES =
            each((text, position, to) -> Scan.isNewline(text[position]) ? position + 1 : position);

    /** {@code [^\n]+|[\n]+} */
    private static final Splitter SINGLE_LINES = each((text, position, to) -> {
        boolean newline = text[position] == '\n';
        return Scan.run(c -> c == '\n' == newline, text, position, to);
    });

    private static final Map<String, PreTokenizer> BY_NAME = new HashMap<>();

    static {
        gpt2Family();
        llama3Family();
        casedFamily();
        deepseekFamily();
        falconFamily();
        bloomFamily();
        superwordFamily();
        characterFamily();
        chameleon();
    }

    private PreTokenizers() {}

    /** The pre-tokenizer of that name, if there is one. */
    static Optional<PreTokenizer> named(String name) {
        return Optional.ofNullable(BY_NAME.get(name));
    }

    /** All names, in alphabetical order. */
    static Set<String> names() {
        return new TreeSet<>(BY_NAME.keySet());
    }

    private static void gpt2Family() {
        add(
                plain(GPT2),
                "gpt-2",
                "phi-2",
                "jina-es",
                "jina-de",
                "jina-v1-en",
                "jina-v2-es",
                "jina-v2-de",
                "jina-v2-code",
                "roberta-bpe",
                "gigachat",
                "a.x-4.0",
                "mellum",
                "modern-bert",
                "exaone4",
                "mpt",
                "olmo",
                "jais",
                "trillion",
                "granite-docling");
        add(
                plain(SINGLE_NUMBERS, GPT2),
                "starcoder",
                "refact",
                "command-r",
                "smollm",
                "codeshell",
                "exaone",
                "minerva-7b",
                "mellum2");
    }

    private static void llama3Family() {
        Splitter llama3 = words(Contractions.BEFORE_WORDS, Words.LETTERS, 3, "\r\n");
        add(
                new PreTokenizer(List.of(llama3), true, true),
                "llama3",
                "llama-v3",
                "llama-bpe",
                "falcon3",
                "falcon-h1",
                "pixtral",
                "midm-2.0",
                "lfm2",
                "jina-v5-nano");
        add(plain(llama3), "dbrx", "smaug-bpe", "glm4", "chatglm-bpe");
        add(plain(llama3, PreTokenizers::halvedWhiteSpace), "jais-2");
        Splitter qwen2 = words(Contractions.BEFORE_WORDS, Words.LETTERS, 1, "\r\n");
        // bailingmoe writes the expression with possessive quantifiers; they match the same pieces.
        add(
                plain(qwen2),
                "qwen2",
                "deepseek-r1-qwen",
                "kormo",
                "f2llmv2",
                "megrez",
                "stablelm2",
                "hunyuan",
                "solar-open",
                "grok-2",
                "bailingmoe",
                "bailingmoe2",
                "llada-moe");
        add(plain(SINGLE_LINES, qwen2), "laguna");
        add(plain(words(Contractions.BEFORE_WORDS, Words.LETTERS_AND_MARKS, 1, "\r\n")), "qwen35");
        add(plain(words(Contractions.BEFORE_WORDS, Words.LETTERS, 1, "")), "seed-coder");
        add(plain(words(Contractions.NONE, Words.LETTERS, 1, "\r\n")), "ufakzeka");
        Splitter minicpm5 = words(Contractions.BEFORE_WORDS, Words.LETTERS, UNLIMITED, "\r\n");
        add(new PreTokenizer(List.of(THREE_NUMBERS, minicpm5), true, false), "minicpm5");
    }

    private static void casedFamily() {
        add(new PreTokenizer(List.of(words(Contractions.NONE, Words.CASED, 1, "\r\n/")), true, true), "tekken");
        Splitter gpt4o = words(Contractions.IN_WORDS, Words.CASED, 3, "\r\n/");
        add(new PreTokenizer(List.of(gpt4o), true, false), "granite-embed-multi-97m");
        add(plain(words(Contractions.IN_WORDS, Words.CASED_BESIDE_HAN, 3, "\r\n")), "kimi-k2");
        add(plain(gpt4o), "gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2");
        add(plain(PreTokenizers::groupedDigits, gpt4o), "tiny_aya", "cohere2moe");
        Splitter youtu = words(Contractions.IN_WORDS, Words.CASED, 1, "\r\n/");
        add(new PreTokenizer(List.of(each(PreTokenizers::eastAsian), youtu), true, false), "youtu");
    }

    private static void deepseekFamily() {
        add(
                plain(
                        SINGLE_NEWLINES,
                        each(spaced(DeepseekLetters.CLASS)),
                        each(spaced(DEEPSEEK_PUNCTUATION)),
                        PreTokenizers::trailingWhiteSpace,
                        runs(DEEPSEEK_CJK),
                        runs(NUMBER)),
                "deepseek-llm");
        add(
                plain(
                        SINGLE_NEWLINES,
                        each(spaced(LETTER)),
                        each(spaced(PUNCTUATION)),
                        runs(DEEPSEEK_CJK),
                        SINGLE_NUMBERS),
                "deepseek-coder");
        add(plain(PreTokenizers::groupedNumbers, runs(AFMOE_SCRIPTS), each(deepseekV3(true))), "afmoe");
        add(
                plain(THREE_NUMBERS, runs(DEEPSEEK_V3_CJK), each(deepseekV3(true))),
                "deepseek-v3",
                "hunyuan-dense",
                "joyai-llm",
                "hy_v4");
        add(plain(THREE_NUMBERS, runs(DEEPSEEK_V3_CJK), each(deepseekV3(false)), SINGLE_NUMBERS), "spark2_5");
    }

    private static void falconFamily() {
        CharacterClass punctuation = PUNCTUATION.or(ASCII_SYMBOL);
        Splitter threeDigits = each(PreTokenizers::threeDigits);
        // falcon: [\p{P}$+<=>^~|`]+, then GPT-2's, then [0-9][0-9][0-9]
        add(plain(runs(punctuation.or(c -> c == '`')), GPT2, threeDigits), "falcon");
        // default: [\p{P}$+<=>^~|]+, then GPT-2's, then \p{N}+, then [0-9][0-9][0-9]
        add(plain(runs(punctuation), GPT2, runs(NUMBER), threeDigits), DEFAULT);
    }

    private static void bloomFamily() {
        Splitter bloom = each(PreTokenizers::bloom);
        add(plain(bloom), "bloom", "poro-chat", "gpt3-finnish");
        add(plain(bloom, SINGLE_NUMBERS), "viking");
    }

    /** Pieces may reach over spaces. */
    private static void superwordFamily() {
        add(plain(each(PreTokenizers::exaoneMoe)), "exaone-moe");
        // (?=(\d{3})+(?!\d)), which cuts in front of what it finds
        add(plain(runs(NUMBER), PreTokenizers::cutBeforeThrees), "superbpe");
    }

    private static void characterFamily() {
        Symbols marked = Symbols.CHARACTERS_WITH_MARKED_SPACES;
        add(new PreTokenizer(List.of(SINGLE_LINES), marked, false, true, true), "gemma4", "granite-embed-multi-311m");
        add(new PreTokenizer(List.of(SINGLE_LINES), marked, false, false, false), "sarvam-moe");
        Splitter words = runs(c -> !CharacterClass.isWhiteSpace(c));
        add(new PreTokenizer(List.of(words), Symbols.CHARACTERS, false, false, false), "whitespace");
    }

    private static void chameleon() {
        // [\p{P}!-/:-@\[-`{-~]
        CharacterClass punctuation = PUNCTUATION.or(c -> c < 0x80 && "$+<=>^`|~".indexOf(c) >= 0);
        add(
                new PreTokenizer(
                        List.of(
                                each(PreTokenizers::sentinel),
                                each(PreTokenizers::imageToken),
                                each(PreTokenizers::indentation),
                                SINGLE_NUMBERS,
                                each((text, position, to) -> Scan.run(punctuation, 1, text, position, to)),
                                GPT2),
                        false,
                        true),
                "chameleon");
    }

    private static void add(PreTokenizer preTokenizer, String... names) {
        for (String name : names) {
            if (BY_NAME.put(name, preTokenizer) != null) {
                throw new IllegalStateException("two pre-tokenizers are called " + name);
            }
        }
    }

    private static PreTokenizer plain(Splitter... steps) {
        return new PreTokenizer(List.of(steps), false, false);
    }

    private static Splitter words(Contractions contractions, Words words, int digits, String afterSymbols) {
        return each(new WordMatcher(contractions, words, digits, afterSymbols));
    }

    /** {@code [class]+} */
    private static Splitter runs(CharacterClass characters) {
        return each((text, position, to) -> Scan.run(characters, text, position, to));
    }

    /** {@code \s?[class]+} */
    private static Splitter.Matcher spaced(CharacterClass characters) {
        return (text, position, to) -> {
            boolean space = CharacterClass.isWhiteSpace(text[position]) && Scan.at(characters, text, position + 1, to);
            return Scan.run(characters, text, space ? position + 1 : position, to);
        };
    }

    private static int gpt2(int[] text, int position, int to) {
        int end = Scan.contraction(false, text, position, to);
        if (end > position) {
            return end;
        }
        int start = text[position] == ' ' && position + 1 < to ? position + 1 : position;
        int c = text[start];
        if (CharacterClass.isWhiteSpace(c)) {
            return Scan.whiteSpace(text, position, to);
        }
        if (LETTER.contains(c)) {
            return Scan.run(LETTER, text, start, to);
        }
        if (NUMBER.contains(c)) {
            return Scan.run(NUMBER, text, start, to);
        }
        return Scan.run(PreTokenizers::isGpt2Symbol, text, start, to);
    }

    /** {@code [^\s\p{L}\p{N}]} */
    private static boolean isGpt2Symbol(int c) {
        return !CharacterClass.isWhiteSpace(c) && !LETTER.contains(c) && !NUMBER.contains(c);
    }

    private static int threeDigits(int[] text, int position, int to) {
        int end = Scan.run(PreTokenizers::isAsciiDigit, 3, text, position, to);
        return end == position + 3 ? end : position;
    }

    /**
     * {@code \p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))}: threes counted from the end of the run, as numbers are read. One pass:
     * a matcher would have to look for the end of the run again and again.
     */
    private static void groupedNumbers(int[] text, int from, int to, IntList ends) {
        int position = from;
        while (position < to) {
            boolean number = NUMBER.contains(text[position]);
            int end = Scan.run(c -> NUMBER.contains(c) == number, text, position, to);
            if (number) {
                for (int first = position + (end - position) % 3; first < end; first += 3) {
                    if (first > position) {
                        ends.add(first);
                    }
                }
            }
            ends.add(end);
            position = end;
        }
    }

    /** {@code  ?[^(\s|.,!?…。，、।۔،)]+} */
    private static int bloom(int[] text, int position, int to) {
        int start = text[position] == ' ' ? position + 1 : position;
        int end = Scan.run(c -> !CharacterClass.isWhiteSpace(c) && "(|.,!?…。，、।۔،)".indexOf(c) < 0, text, start, to);
        return end > start ? end : position;
    }

    /** {@code \s+$} */
    private static void trailingWhiteSpace(int[] text, int from, int to, IntList ends) {
        int start = to;
        while (start > from && CharacterClass.isWhiteSpace(text[start - 1])) {
            start--;
        }
        if (start > from) {
            ends.add(start);
        }
        if (start < to) {
            ends.add(to);
        }
    }

    /**
     * <pre>
     *   [!"#$%&amp;'()*+,\-./:;&lt;=&gt;?@\[\\\]^_`{|}~][A-Za-z]+
     * | [^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+
     * |  ?[\p{P}\p{S}]+[\r\n]*
     * | \s*[\r\n]+ | \s+(?!\S) | \s+
     * </pre>
     *
     * and with single line breaks {@code  ?[\p{P}\p{S}]+ | [\r\n] | \s+(?!\S) | \s+} at the end.
     */
    private static Splitter.Matcher deepseekV3(boolean joinsLineBreaks) {
        return (text, position, to) -> {
            int c = text[position];
            if (c > ' ' && c < 0x7F && !isAsciiLetter(c) && !(c >= '0' && c <= '9')) {
                int end = Scan.run(PreTokenizers::isAsciiLetter, text, position + 1, to);
                if (end > position + 1) {
                    return end;
                }
            }
            boolean prefix =
                    !Scan.isNewline(c) && !LETTER.contains(c) && !CharacterClass.PUNCTUATION_OR_SYMBOL.contains(c);
            boolean skip = prefix && Scan.at(CharacterClass.LETTER_OR_MARK, text, position + 1, to);
            int end = Scan.run(CharacterClass.LETTER_OR_MARK, text, skip ? position + 1 : position, to);
            if (end > position) {
                return end;
            }
            int start = c == ' ' ? position + 1 : position;
            end = Scan.run(CharacterClass.PUNCTUATION_OR_SYMBOL, text, start, to);
            if (end > start) {
                return joinsLineBreaks ? Scan.run(Scan::isNewline, text, end, to) : end;
            }
            if (joinsLineBreaks) {
                return Scan.whiteSpaceByLine(text, position, to);
            }
            return Scan.isNewline(c) ? position + 1 : Scan.whiteSpace(text, position, to);
        };
    }

    private static boolean isAsciiLetter(int c) {
        return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z';
    }

    /**
     * What Jais 2 makes of white space that is no line break: {@code \s{512}(?!\S)|\s{256}(?!\S)|...|\s{4}(?!\S)|
     * \s{1,2}(?!\S)|\s{1}}. Cuts the pieces that {@code \s+(?!\S)|\s+} leaves, in which no line break comes last.
     */
    private static void halvedWhiteSpace(int[] text, int from, int to, IntList ends) {
        int position = from;
        if (CharacterClass.isWhiteSpace(text[from])
                && CharacterClass.isWhiteSpace(text[to - 1])
                && !Scan.isNewline(text[to - 1])) {
            for (int length = 512; length > 0; length /= 2) {
                for (; to - position >= length; position += length) {
                    ends.add(position + length);
                }
            }
        }
        if (position < to) {
            ends.add(to);
        }
    }

    /** {@code \d{1,3}(?=(?:\d{3})*\b)}: threes counted from the end of the run, unless a word goes on behind it. */
    private static void groupedDigits(int[] text, int from, int to, IntList ends) {
        int position = from;
        int done = from;
        while (position < to) {
            int end = Scan.run(CharacterClass.DIGIT, text, position, to);
            if (end == position) {
                position++;
                continue;
            }
            if (end == to || !CharacterClass.WORD.contains(text[end])) {
                if (done < position) {
                    ends.add(position);
                }
                for (int first = position + (end - position) % 3; first < end; first += 3) {
                    if (first > position) {
                        ends.add(first);
                    }
                }
                ends.add(end);
                done = end;
            }
            position = end;
        }
        if (done < to) {
            ends.add(to);
        }
    }

    /** Cuts in front of every three digits, counted from the end of a run of digits. */
    private static void cutBeforeThrees(int[] text, int from, int to, IntList ends) {
        int position = from;
        while (position < to) {
            int end = Scan.run(CharacterClass.DIGIT, text, position, to);
            for (int first = position + (end - position) % 3; first < end; first += 3) {
                if (first > from) {
                    ends.add(first);
                }
            }
            position = Math.max(end, position + 1);
        }
        ends.add(to);
    }

    /** {@code [가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+} */
    private static int eastAsian(int[] text, int position, int to) {
        for (CharacterClass script : YOUTU_SCRIPTS) {
            int end = Scan.run(script, text, position, to);
            if (end > position) {
                return end;
            }
        }
        return position;
    }

    /**
     * <pre>
     *   (?i:'s|'t|'re|'ve|'m|'ll|'d)
     * | [^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+
     * | \p{N} |  ?[^\s\p{L}\p{N}]+[\r\n/]?
     * | \s*[\r\n] | \s+(?!\S) | \s+
     * </pre>
     */
    private static int exaoneMoe(int[] text, int position, int to) {
        int end = Scan.contraction(true, text, position, to);
        if (end > position) {
            return end;
        }
        int c = text[position];
        boolean prefix = !Scan.isNewline(c) && !LETTER.contains(c) && !NUMBER.contains(c);
        int start = prefix ? position + 1 : position;
        if (Scan.at(LETTER, text, start, to)) {
            end = start;
            do {
                end = Scan.run(CharacterClass.MARK, text, end + 1, to);
                if (end < to && text[end] == ' ' && Scan.at(LETTER, text, end + 1, to)) {
                    end++;
                }
            } while (Scan.at(LETTER, text, end, to));
            return end;
        }
        if (NUMBER.contains(c)) {
            return position + 1;
        }
        start = c == ' ' ? position + 1 : position;
        end = Scan.run(PreTokenizers::isGpt2Symbol, text, start, to);
        if (end > start) {
            return end < to && Scan.isNewline(text[end]) ? end + 1 : end;
        }
        return Scan.whiteSpaceByLine(text, position, to);
    }

    /** {@code <sentinel:[0-9]+>} */
    private static int sentinel(int[] text, int position, int to) {
        int start = after("<sentinel:", text, position, to);
        if (start == position) {
            return position;
        }
        int end = Scan.run(PreTokenizers::isAsciiDigit, text, start, to);
        return end > start && end < to && text[end] == '>' ? end + 1 : position;
    }

    /** {@code IMGIMG[A-I]{1,4}Z} */
    private static int imageToken(int[] text, int position, int to) {
        int start = after("IMGIMG", text, position, to);
        if (start == position) {
            return position;
        }
        int end = Scan.run(c -> c >= 'A' && c <= 'I', 4, text, start, to);
        return end > start && end < to && text[end] == 'Z' ? end + 1 : position;
    }

    /** {@code [\t\n]|    |  } */
    private static int indentation(int[] text, int position, int to) {
        if (text[position] == '\t' || text[position] == '\n') {
            return position + 1;
        }
        int end = Scan.run(c -> c == ' ', 4, text, position, to);
        return end - position == 4 ? end : end - position >= 2 ? position + 2 : position;
    }

    /** The position after {@code word}, or {@code position} when it does not stand there. */
    private static int after(String word, int[] text, int position, int to) {
        if (to - position < word.length()) {
            return position;
        }
        for (int i = 0; i < word.length(); i++) {
            if (text[position + i] != word.charAt(i)) {
                return position;
            }
        }
        return position + word.length();
    }

    private static boolean isAsciiDigit(int c) {
        return c >= '0' && c <= '9';
    }
}
