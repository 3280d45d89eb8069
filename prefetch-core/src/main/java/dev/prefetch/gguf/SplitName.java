package dev.prefetch.gguf;

import java.nio.file.Path;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The name of one file of a split model: {@code NAME-00002-of-00003.gguf}, counted from 1.
 *
 * @param prefix what the names of all the files begin with
 * @param number which file, from 1
 * @param count how many there are
 */
record SplitName(String prefix, int number, int count) {

    private static final Pattern PATTERN = Pattern.compile("(.*)-(\\d{5})-of-(\\d{5})\\.gguf");

    /** The parts of a file's name, if it is one of a split model. */
    static Optional<SplitName> of(Path file) {
        Matcher matcher = PATTERN.matcher(String.valueOf(file.getFileName()));
        return matcher.matches()
                ? Optional.of(new SplitName(
                        matcher.group(1), Integer.parseInt(matcher.group(2)), Integer.parseInt(matcher.group(3))))
                : Optional.empty();
    }

    /** The name of another file of the same model. */
    String of(int otherNumber) {
        return "%s-%05d-of-%05d.gguf".formatted(prefix, otherNumber, count);
    }
}
