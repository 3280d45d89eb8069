package dev.prefetch.prefetch;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class MemoryBudgetTest {

    private static final long GIB = 1L << 30;

    @TempDir
    Path root;

    @BeforeEach
    void aMachineWithEightGibibytesAvailable() throws IOException {
        write("proc/meminfo", "MemTotal: 16777216 kB\nMemFree: 1 kB\nMemAvailable:    8388608 kB\n");
    }

    private void write(String path, String text) throws IOException {
        Path file = root.resolve(path);
        Files.createDirectories(file.getParent());
        Files.writeString(file, text);
    }

    @Test
    void takesTheMachinesAvailableMemory() {
        MemoryBudget budget = MemoryBudget.discover(root);
        assertThat(budget.availableBytes()).isEqualTo(8 * GIB);
        assertThat(budget.source()).contains("machine");
    }

    @Test
    void obeysTheTightestGroupOfVersion2() throws IOException {
        write("proc/self/cgroup", "0::/pod/engine\n");
        write("sys/fs/cgroup/pod/memory.max", String.valueOf(3 * GIB));
        write("sys/fs/cgroup/pod/memory.current", String.valueOf(2 * GIB));
        write("sys/fs/cgroup/pod/memory.stat", "anon 5\ninactive_file " + GIB / 2 + "\n");
        write("sys/fs/cgroup/pod/engine/memory.max", "max\n");
        write("sys/fs/cgroup/pod/engine/memory.current", "1000\n");
        MemoryBudget budget = MemoryBudget.discover(root);
        assertThat(budget.availableBytes()).isEqualTo(3 * GIB / 2);
        assertThat(budget.source()).contains("pod").contains("3072 MiB");
    }

    @Test
    void obeysAGroupOfVersion1() throws IOException {
        write("proc/self/cgroup", "5:cpu,cpuacct:/\n4:memory:/app\n0::/\n");
        write("sys/fs/cgroup/memory/app/memory.limit_in_bytes", GIB + "\n");
        write("sys/fs/cgroup/memory/app/memory.usage_in_bytes", "1024\n");
        write("sys/fs/cgroup/memory/app/memory.stat", "total_inactive_file 0\n");
        assertThat(MemoryBudget.discover(root).availableBytes()).isEqualTo(GIB - 1024);
    }

    @Test
    void findsItsGroupAtTheMountInsideAContainer() throws IOException {
        write("proc/self/cgroup", "0::/../../elsewhere\n");
        write("sys/fs/cgroup/memory.max", String.valueOf(2 * GIB));
        write("sys/fs/cgroup/memory.current", "0");
        assertThat(MemoryBudget.discover(root).availableBytes()).isEqualTo(2 * GIB);
    }

    @Test
    void knowsThisMachine() {
        MemoryBudget budget = MemoryBudget.discover();
        assertThat(budget.availableBytes()).isPositive();
        assertThat(budget.defaultEngineBytes()).isLessThan(budget.availableBytes());
    }

    @ParameterizedTest
    @CsvSource({
        "3GiB,3221225472",
        "512MB,536870912",
        "512m,536870912",
        "1.5g,1610612736",
        "4096,4096",
        "40%,400",
        "100 %,1000",
        "2 KB,2048",
        "0,0"
    })
    void readsAmounts(String text, long bytes) {
        assertThat(MemoryAmount.parse(text).of(1000)).isEqualTo(bytes);
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "much", "-1", "101%", "3 parsecs", "9999999999999TB", "1e9"})
    void refusesWhatIsNoAmount(String text) {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> MemoryAmount.parse(text))
                .withMessageContaining("'" + text + "'");
    }
}
