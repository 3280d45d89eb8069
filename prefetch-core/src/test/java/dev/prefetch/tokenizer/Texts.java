package dev.prefetch.tokenizer;

import java.util.Random;

/** Random texts. */
final class Texts {

    /** One or more of every kind of character that an expression tells apart. */
    private static final String[] KINDS = {
        "a",
        "b",
        "s",
        "t",
        "re",
        "ll",
        "z",
        "A",
        "T",
        "LL",
        "é",
        "ß",
        "Ж",
        "ж",
        "ǅ",
        "ʰ",
        "中",
        "文",
        "あ",
        "ー",
        "한",
        "ࠀ",
        "ক",
        "\u0301",
        "\u0903",
        "1",
        "2",
        "3",
        "0",
        "½",
        "Ⅷ",
        "٣",
        " ",
        " ",
        " ",
        "\t",
        "\n",
        "\r",
        "\r\n",
        "\u00A0",
        "\u3000",
        "\u0085",
        "\u2028",
        "'",
        "'",
        "'s",
        "'RE",
        "’",
        ".",
        ",",
        "!",
        "?",
        "(",
        "…",
        "。",
        "，",
        "।",
        "/",
        "_",
        "-",
        "\\",
        "[",
        "$",
        "+",
        "<",
        "=",
        "^",
        "~",
        "|",
        "`",
        "€",
        "😀",
        "👩\u200D💻",
        "\u0000",
        "\u0007",
        "\u200B",
        "\uFFFD",
        "\uE000",
        "\u0378",
        "𐐀",
        "𝟙",
        "！",
        "：",
        "〿",
        "﹏",
        "ㄅ",
        "ㆎ",
        "—",
        "    ",
        "<sentinel:",
        "12>",
        "IMGIMG",
        "ABIZ",
        "Ａ",
        "‘"
    };

    private Texts() {}

    /** Up to 30 characters, of all kinds or of a few. */
    static String splittable(Random random) {
        StringBuilder text = new StringBuilder();
        int first = random.nextInt(KINDS.length);
        int kinds = random.nextBoolean() ? KINDS.length : 1 + random.nextInt(8);
        for (int i = random.nextInt(30); i > 0; i--) {
            text.append(KINDS[(first + random.nextInt(kinds)) % KINDS.length]);
        }
        return text.toString();
    }

    /** Up to 30 code points from everywhere in Unicode. */
    static String anything(Random random) {
        StringBuilder text = new StringBuilder();
        for (int i = random.nextInt(30); i > 0; i--) {
            int bits = 7 + random.nextInt(15);
            int c = random.nextInt(1 << bits);
            if (c <= Character.MAX_CODE_POINT && (c < Character.MIN_SURROGATE || c > Character.MAX_SURROGATE)) {
                text.appendCodePoint(c);
            }
        }
        return text.toString();
    }
}
