package dev.prefetch.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.prefetch.gguf.GgufFormatException;
import dev.prefetch.gguf.GgufMetadata;
import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;

class CharacterMapTest {

    private static final Map<String, String> RUNS = new LinkedHashMap<>(
            Map.of("ﬁ", "fi", "\t", " ", "é", "e", "e\u0301", "e", "Å", "å", "\u200B", "", "ｱ", "ア", "ｱﾞ", "ア゛"));

    @Test
    void replacesTheLongestRun() {
        CharacterMap map = map(bytes(RUNS));
        assertThat(apply(map, "ﬁnd\té e\u0301 Å\u200Bb e")).isEqualTo("find e e åb e");
        assertThat(apply(map, "ｱﾞｱ")).isEqualTo("ア゛ア");
    }

    @Test
    void leavesEverythingAloneWithoutAMap() {
        CharacterMap none = CharacterMap.of(GgufMetadata.of("test.gguf", Map.of()));
        assertThat(apply(none, "ﬁ\t😀")).isEqualTo("ﬁ\t😀");
        assertThat(apply(none, "a\uD83D")).isEqualTo("a\uFFFD");
    }

    @Test
    void refusesMalformedMaps() {
        byte[] good = bytes(RUNS);
        refuses(Arrays.copyOf(good, 3));
        refuses(Arrays.copyOf(good, 40));
        // The last replacement loses its end.
        refuses(Arrays.copyOf(good, good.length - 1));
        byte[] odd = good.clone();
        odd[0]++;
        refuses(odd);
    }

    @Test
    void survivesDamage() {
        byte[] good = bytes(RUNS);
        long seed = 46;
        Random random = new Random(seed);
        int refused = 0;
        for (int round = 0; round < 5000; round++) {
            byte[] damaged = good.clone();
            for (int i = 1 + random.nextInt(4); i > 0; i--) {
                damaged[random.nextInt(damaged.length)] = (byte) random.nextInt();
            }
            try {
                apply(map(damaged), "ﬁnd\té e\u0301 Å");
            } catch (GgufFormatException e) {
                refused++;
            }
        }
        assertThat(refused).as("seed %d", seed).isBetween(1, 4999);
    }

    private static void refuses(byte[] bytes) {
        assertThatThrownBy(() -> map(bytes))
                .isInstanceOf(GgufFormatException.class)
                .hasMessageContainingAll("test.gguf", CharacterMap.KEY);
    }

    private static String apply(CharacterMap map, String text) {
        return map.apply(text, 0, text.length());
    }

    private static CharacterMap map(byte[] bytes) {
        long[] numbers = new long[bytes.length];
        for (int i = 0; i < bytes.length; i++) {
            numbers[i] = bytes[i];
        }
        return CharacterMap.of(GgufMetadata.of("test.gguf", Map.of(CharacterMap.KEY, numbers)));
    }

    /** The file's form of a map: nodes of the tree get the first base at which all their children find room. */
    private static byte[] bytes(Map<String, String> runs) {
        ByteArrayOutputStream texts = new ByteArrayOutputStream();
        Node root = new Node();
        runs.forEach((run, replacement) -> {
            Node node = root;
            for (byte b : run.getBytes(StandardCharsets.UTF_8)) {
                node = node.children.computeIfAbsent(b & 0xFF, _ -> new Node());
            }
            node.value = texts.size();
            texts.writeBytes(replacement.getBytes(StandardCharsets.UTF_8));
            texts.write(0);
        });
        int[] units = new int[1 << 10];
        place(root, 0, units, new HashSet<>(Set.of(0)), new HashSet<>());
        ByteBuffer result = ByteBuffer.allocate(4 + 4 * units.length + texts.size())
                .order(ByteOrder.LITTLE_ENDIAN)
                .putInt(4 * units.length);
        result.asIntBuffer().put(units);
        return result.position(4 + 4 * units.length).put(texts.toByteArray()).array();
    }

    private static void place(Node node, int at, int[] units, Set<Integer> used, Set<Integer> bases) {
        int base = 256;
        while (bases.contains(base) || used.contains(base) || collides(node, base, used)) {
            base++;
        }
        bases.add(base);
        units[at] |= (at ^ base) << 10 | (node.value >= 0 ? 1 << 8 : 0);
        if (node.value >= 0) {
            used.add(base);
            units[base] = 1 << 31 | node.value;
        }
        for (int c : node.children.keySet()) {
            used.add(base ^ c);
            units[base ^ c] = c;
        }
        for (var child : node.children.entrySet()) {
            place(child.getValue(), base ^ child.getKey(), units, used, bases);
        }
    }

    private static boolean collides(Node node, int base, Set<Integer> used) {
        return node.children.keySet().stream().anyMatch(c -> used.contains(base ^ c));
    }

    private static final class Node {
        private final Map<Integer, Node> children = new TreeMap<>();
        private int value = -1;
    }
}
