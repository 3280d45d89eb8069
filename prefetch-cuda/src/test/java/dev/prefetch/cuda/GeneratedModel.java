package dev.prefetch.cuda;

import dev.prefetch.gguf.GgmlType;
import java.io.BufferedOutputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;

/**
 * Writes a llama model of any size with random weights, for figures: the tokenizer is taken from another file, and every
 * tensor repeats the same megabyte of blocks.
 *
 * @param layers residual layers
 * @param width elements of the residual stream, a multiple of 256
 * @param network elements inside the feed-forward network, a multiple of 256
 * @param heads query heads
 * @param kvHeads key/value heads
 * @param type format of the matrices
 */
record GeneratedModel(int layers, int width, int network, int heads, int kvHeads, GgmlType type) {

    private static final int ALIGNMENT = 32;
    private static final int UINT32 = 4;
    private static final int FLOAT32 = 6;
    private static final int STRING = 8;
    private static final int ARRAY = 9;
    private static final int[] TYPE_BYTES = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

    private record Tensor(String name, GgmlType type, int cols, int rows) {
        long bytes() {
            return rows * type.byteSize(cols);
        }
    }

    /** Writes the model with the tokenizer of {@code tokenizerFrom}. */
    Path write(Path tokenizerFrom, Path target) throws IOException {
        List<byte[]> entries = new ArrayList<>();
        int vocabulary = tokenizerEntries(Files.readAllBytes(tokenizerFrom), entries);
        Map<String, Number> settings = new LinkedHashMap<>();
        settings.put("block_count", layers);
        settings.put("context_length", 8192);
        settings.put("embedding_length", width);
        settings.put("feed_forward_length", network);
        settings.put("attention.head_count", heads);
        settings.put("attention.head_count_kv", kvHeads);
        settings.put("attention.layer_norm_rms_epsilon", 1e-5f);
        settings.put("rope.dimension_count", width / heads);
        settings.put("rope.freq_base", 10000f);
        settings.put("vocab_size", vocabulary);
        entries.add(entry("general.architecture", "llama"));
        settings.forEach((key, value) -> entries.add(entry("llama." + key, value)));

        List<Tensor> tensors = tensors(vocabulary);
        ByteArrayOutputStream header = new ByteArrayOutputStream();
        header.writeBytes(little(24)
                .put("GGUF".getBytes(StandardCharsets.US_ASCII))
                .putInt(3)
                .putLong(tensors.size())
                .putLong(entries.size())
                .array());
        entries.forEach(header::writeBytes);
        long offset = 0;
        for (Tensor tensor : tensors) {
            header.writeBytes(string(tensor.name));
            header.writeBytes(little(4 + 16 + 4 + 8)
                    .putInt(2)
                    .putLong(tensor.cols)
                    .putLong(tensor.rows)
                    .putInt(tensor.type.id())
                    .putLong(offset)
                    .array());
            offset += padded(tensor.bytes());
        }
        try (OutputStream out = new BufferedOutputStream(Files.newOutputStream(target), 1 << 20)) {
            out.write(header.toByteArray());
            out.write(new byte[(int) (padded(header.size()) - header.size())]);
            for (Tensor tensor : tensors) {
                writeTensor(out, tensor);
            }
        }
        return target;
    }

    private List<Tensor> tensors(int vocabulary) {
        int kv = width / heads * kvHeads;
        List<Tensor> tensors = new ArrayList<>();
        tensors.add(new Tensor("token_embd.weight", type, width, vocabulary));
        tensors.add(new Tensor("output_norm.weight", GgmlType.F32, width, 1));
        tensors.add(new Tensor("output.weight", type, width, vocabulary));
        for (int i = 0; i < layers; i++) {
            String layer = "blk." + i + ".";
            tensors.add(new Tensor(layer + "attn_norm.weight", GgmlType.F32, width, 1));
            tensors.add(new Tensor(layer + "attn_q.weight", type, width, width));
            tensors.add(new Tensor(layer + "attn_k.weight", type, width, kv));
            tensors.add(new Tensor(layer + "attn_v.weight", type, width, kv));
            tensors.add(new Tensor(layer + "attn_output.weight", type, width, width));
            tensors.add(new Tensor(layer + "ffn_norm.weight", GgmlType.F32, width, 1));
            tensors.add(new Tensor(layer + "ffn_gate.weight", type, width, network));
            tensors.add(new Tensor(layer + "ffn_up.weight", type, width, network));
            tensors.add(new Tensor(layer + "ffn_down.weight", type, network, width));
        }
        return tensors;
    }

    private static void writeTensor(OutputStream out, Tensor tensor) throws IOException {
        long blocks = Math.min(tensor.bytes(), 1 << 20) / tensor.type.blockBytes();
        byte[] pattern = Devices.randomBlocks(
                new SplittableRandom(tensor.name.hashCode()), tensor.type, blocks * tensor.type.blockElements());
        for (long done = 0; done < tensor.bytes(); done += pattern.length) {
            out.write(pattern, 0, (int) Math.min(pattern.length, tensor.bytes() - done));
        }
        out.write(new byte[(int) (padded(tensor.bytes()) - tensor.bytes())]);
    }

    /** Copies the entries whose keys begin with {@code tokenizer.}; returns the size of the vocabulary. */
    private static int tokenizerEntries(byte[] file, List<byte[]> entries) {
        ByteBuffer in = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN).position(16);
        long count = in.getLong();
        int vocabulary = 0;
        for (long i = 0; i < count; i++) {
            int start = in.position();
            byte[] key = new byte[(int) in.getLong()];
            in.get(key);
            String name = new String(key, StandardCharsets.UTF_8);
            int type = in.getInt();
            if (name.equals("tokenizer.ggml.tokens")) {
                vocabulary = (int) in.getLong(in.position() + 4);
            }
            skip(in, type);
            if (name.startsWith("tokenizer.")) {
                entries.add(java.util.Arrays.copyOfRange(file, start, in.position()));
            }
        }
        return vocabulary;
    }

    private static void skip(ByteBuffer in, int type) {
        if (type == STRING) {
            long length = in.getLong();
            in.position(in.position() + (int) length);
        } else if (type == ARRAY) {
            int elements = in.getInt();
            long length = in.getLong();
            for (long i = 0; i < length; i++) {
                skip(in, elements);
            }
        } else {
            in.position(in.position() + TYPE_BYTES[type]);
        }
    }

    private static byte[] entry(String key, Object value) {
        byte[] name = string(key);
        byte[] text = value instanceof String string ? string(string) : new byte[4];
        ByteBuffer out = little(name.length + 4 + text.length).put(name);
        switch (value) {
            case Float number -> out.putInt(FLOAT32).putFloat(number);
            case Integer number -> out.putInt(UINT32).putInt(number);
            default -> out.putInt(STRING).put(text);
        }
        return out.array();
    }

    private static byte[] string(String text) {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        return little(8 + bytes.length).putLong(bytes.length).put(bytes).array();
    }

    private static ByteBuffer little(int bytes) {
        return ByteBuffer.allocate(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }

    private static long padded(long bytes) {
        return Math.ceilDiv(bytes, ALIGNMENT) * ALIGNMENT;
    }
}
