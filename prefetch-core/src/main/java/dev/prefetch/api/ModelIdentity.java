package dev.prefetch.api;

import dev.prefetch.gguf.GgufFile;
import dev.prefetch.gguf.GgufPart;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.StandardOpenOption;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.List;

/** Tells models apart whose keys and values differ, without reading them whole. */
final class ModelIdentity {

    /** Places of a file that are looked at, evenly spread, the first and the last bytes among them. */
    private static final int SAMPLES = 256;

    private static final int SAMPLE_BYTES = 512;

    private ModelIdentity() {}

    /**
     * A digest of a model's metadata and directory of tensors, of samples of its weights and of its adapters', and of this
     * library's version.
     *
     * @throws UncheckedIOException when an adapter cannot be read
     */
    static byte[] of(GgufFile model, List<LoraSource> adapters) {
        MessageDigest digest = sha256();
        // Kernels of another version may round otherwise.
        digest.update(String.valueOf(ModelIdentity.class.getPackage().getImplementationVersion())
                .getBytes(StandardCharsets.UTF_8));
        MemorySegment first = model.parts().getFirst().mapping();
        digest.update(
                first.asSlice(0, Math.min(model.dataOffset(), first.byteSize())).asByteBuffer());
        for (GgufPart part : model.parts()) {
            sample(part.mapping(), digest);
        }
        for (LoraSource adapter : adapters) {
            digest.update(
                    ByteBuffer.allocate(Float.BYTES).putFloat(adapter.scale()).flip());
            try (FileChannel channel = FileChannel.open(adapter.path(), StandardOpenOption.READ);
                    Arena arena = Arena.ofConfined()) {
                sample(channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), arena), digest);
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }
        return digest.digest();
    }

    private static void sample(MemorySegment file, MessageDigest digest) {
        digest.update(ByteBuffer.allocate(Long.BYTES).putLong(file.byteSize()).flip());
        long bytes = Math.min(SAMPLE_BYTES, file.byteSize());
        for (int i = 0; i < SAMPLES; i++) {
            // In double: sizes times numbers of samples are far below 2^53.
            long offset = (long) ((double) (file.byteSize() - bytes) * i / (SAMPLES - 1));
            digest.update(file.asSlice(offset, bytes).asByteBuffer());
        }
    }

    private static MessageDigest sha256() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every Java platform has SHA-256", e);
        }
    }
}
