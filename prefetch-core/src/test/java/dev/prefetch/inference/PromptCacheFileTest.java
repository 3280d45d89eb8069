package dev.prefetch.inference;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.testing.Conformance;
import dev.prefetch.testing.DemoModel;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What is kept in a file saves computing as what is kept in memory does, and nothing in a file changes a token. */
@Timeout(300)
class PromptCacheFileTest {

    private static final int CONTEXT = 512;
    private static final int UBATCH = 128;
    private static final int[] FIRST = tokens(1, 300);
    private static final long SEED = 42;

    /** Bytes before the pages. */
    private static final int HEADER = 72;

    @TempDir
    private Path folder;

    /** One without windows, and one of every architecture with them. */
    static Stream<Path> models() {
        List<Path> models = new ArrayList<>(List.of(DemoModel.file()));
        if (Conformance.isPresent()) {
            for (String name : List.of("gemma2-Q8_0", "gemma3-Q8_0", "gpt-oss-MXFP4")) {
                models.add(Conformance.folder().resolve("logits/" + name + ".gguf"));
            }
        }
        return models.stream();
    }

    private static int[] tokens(long seed, int count) {
        return new SplittableRandom(seed).ints(count, 10, 250).toArray();
    }

    private static int[] join(int[] first, List<Integer> second, int[] third) {
        return IntStream.concat(
                        IntStream.concat(Arrays.stream(first), second.stream().mapToInt(Integer::intValue)),
                        Arrays.stream(third))
                .toArray();
    }

    private Path file() {
        return folder.resolve("prompts").resolve("demo.cache");
    }

    private PromptCacheFile with(LoopFixture fixture, String identity) {
        return new PromptCacheFile(
                file(),
                PromptCacheFile.Identity.of(identity.getBytes(StandardCharsets.UTF_8)),
                fixture.config.vocabularySize());
    }

    private static BatchLimits limits(LoopFixture fixture, double sequences) {
        long kvBytes = (long) (sequences * fixture.kvBytes(CONTEXT, UBATCH));
        return new BatchLimits(CONTEXT, UBATCH, 4, kvBytes).withPromptCacheBytes(kvBytes);
    }

    /** Has a conversation of 300 and 20 tokens and writes it; returns the answer. */
    private List<Integer> firstLife(Path model) {
        try (LoopFixture fixture = new LoopFixture(model)) {
            BatchLoop loop = fixture.loop(limits(fixture, 2), with(fixture, "model"));
            List<Integer> answer = fixture.generate(loop, FIRST, 20).tokens();
            LoopFixture.awaitIdle(loop, 20);
            loop.close();
            return answer;
        }
    }

    /** Goes on with the conversation from the file; returns how many tokens came from there. */
    private int secondLife(Path model, List<Integer> answer, String identity, double sequences) {
        int[] second = join(FIRST, answer, tokens(2, 33));
        try (LoopFixture fixture = new LoopFixture(model);
                LoopFixture other = new LoopFixture(model)) {
            BatchLoop loop = fixture.loop(limits(fixture, sequences), with(fixture, identity));
            SequenceListener.End next = fixture.generate(loop, second, 20);
            BatchLoop plain = other.loop(limits(other, 1).withPromptCacheBytes(0));

            assertThat(next.tokens())
                    .isEqualTo(other.generate(plain, second, 20).tokens());
            // What was there was not computed; the answer is, as a prompt, when nobody waits any more, unless that was
            // there.
            int computed = second.length - next.cachedTokens();
            assertThat(fixture.prefillTokens.get()).isBetween((long) computed, computed + 20L);
            assertThat(loop.load().kvBytesCached())
                    .isLessThanOrEqualTo(limits(fixture, sequences).promptCacheBytes());
            return next.cachedTokens();
        }
    }

    @ParameterizedTest
    @MethodSource("models")
    void aSecondLifeComputesTheNewTokensAlone(Path model) {
        List<Integer> answer = firstLife(model);

        assertThat(secondLife(model, answer, "model", 2)).isEqualTo(320);
    }

    @ParameterizedTest
    @MethodSource("models")
    void severalLivesKeepWhatWasUsedLast(Path model) throws IOException {
        List<Integer> answer = firstLife(model);
        byte[] before = Files.readAllBytes(file());

        assertThat(secondLife(model, answer, "model", 2)).isEqualTo(320);
        assertThat(Files.size(file())).isGreaterThan(before.length);
        assertThat(secondLife(model, answer, "model", 2)).isGreaterThanOrEqualTo(320);
    }

    @Test
    void aSmallerCacheTakesWhatItHasRoomFor() {
        List<Integer> answer = firstLife(DemoModel.file());

        // A sequence of 512 tokens has 8 pages; the file has 5.
        try (LoopFixture fixture = new LoopFixture(DemoModel.file())) {
            BatchLimits limits = limits(fixture, 1);
            long three = limits.kvBytes() / 8 * 3;
            BatchLoop loop = fixture.loop(limits.withPromptCacheBytes(three), with(fixture, "model"));
            SequenceListener.End next = fixture.generate(loop, join(FIRST, answer, tokens(2, 33)), 1);
            assertThat(next.cachedTokens()).isEqualTo(3 * KvLayout.PAGE_TOKENS);
        }
    }

    @Test
    void aFileOfAnotherModelIsNotTakenAndIsReplaced() throws IOException {
        List<Integer> answer = firstLife(DemoModel.file());

        assertThat(secondLife(DemoModel.file(), answer, "another", 2)).isZero();
        assertThat(secondLife(DemoModel.file(), answer, "another", 2)).isPositive();
        assertThat(secondLife(DemoModel.file(), answer, "model", 2)).isZero();
        try (Stream<Path> files = Files.list(file().getParent())) {
            assertThat(files).containsExactly(file());
        }
    }

    @Test
    void onlyItsOwnerMayReadTheFile() throws IOException {
        Assumptions.assumeTrue(
                folder.getFileSystem().supportedFileAttributeViews().contains("posix"), "needs POSIX permissions");
        firstLife(DemoModel.file());

        assertThat(PosixFilePermissions.toString(Files.getPosixFilePermissions(file())))
                .isEqualTo("rw-------");
    }

    /** A byte changed anywhere, at places of the seed's choice and at every one of the header. */
    @Test
    void damageCostsNoMoreThanWhatItHit() throws IOException {
        List<Integer> answer = firstLife(DemoModel.file());
        byte[] whole = Files.readAllBytes(file());
        SplittableRandom random = new SplittableRandom(SEED);
        List<Integer> places =
                new ArrayList<>(List.of(0, 8, 12, 43, 44, 52, 60, 68, 71, HEADER, HEADER + 4, HEADER + 8));
        random.ints(6, HEADER, whole.length).forEach(places::add);
        int pageBytes = (whole.length - HEADER) / 5;
        for (int place : places) {
            byte[] damaged = whole.clone();
            damaged[place] ^= (byte) (1 << random.nextInt(8));
            Files.write(file(), damaged);
            int cached = secondLife(DemoModel.file(), answer, "model", 2);
            int pagesBefore = Math.max(0, place - HEADER) / pageBytes;
            assertThat(cached)
                    .as("seed %d, byte %d of %d", SEED, place, whole.length)
                    .isEqualTo(pagesBefore * KvLayout.PAGE_TOKENS);
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 1, 71, 72, 80, 100_000, -4})
    void aFileThatIsCutOffIsUsedAsFarAsItIsWhole(int length) throws IOException {
        List<Integer> answer = firstLife(DemoModel.file());
        byte[] whole = Files.readAllBytes(file());
        Files.write(file(), Arrays.copyOf(whole, length < 0 ? whole.length + length : length));

        assertThat(secondLife(DemoModel.file(), answer, "model", 2)).isLessThan(320);
    }

    /** Whoever can compute checksums can write anything: no number may lead beyond what there is. */
    @Test
    void impossibleNumbersWithRightChecksumsAreRefused() throws IOException {
        List<Integer> answer = firstLife(DemoModel.file());
        byte[] whole = Files.readAllBytes(file());
        for (int[] change : new int[][] {{0, 0}, {0, 7}, {4, 0}, {4, 65}, {4, -1}, {8, -5}, {8, 1 << 20}}) {
            ByteBuffer bytes = ByteBuffer.wrap(whole.clone()).order(ByteOrder.LITTLE_ENDIAN);
            bytes.putInt(HEADER + change[0], change[1]);
            Files.write(file(), bytes.array());
            assertThat(secondLife(DemoModel.file(), answer, "model", 2)).isZero();
        }
    }

    @Test
    void whatCannotBeWrittenIsNotWrittenAndClosingGoesOn() throws IOException {
        Files.writeString(folder.resolve("prompts"), "in the way of the folder");

        firstLife(DemoModel.file());

        try (Stream<Path> files = Files.list(folder)) {
            assertThat(files).containsExactly(folder.resolve("prompts"));
        }
    }
}
