package dev.prefetch.prefetch;

import jdk.jfr.Category;
import jdk.jfr.DataAmount;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;

/** Flight-recorder event: one block was read. */
@Name("dev.prefetch.Transfer")
@Label("Weight Transfer")
@Category("Prefetch")
@Description("A block of weights on its way from the disk, from its first read to its last")
@StackTrace(false)
final class TransferEvent extends Event {

    @Label("Block")
    String block = "";

    @Label("Bytes")
    @DataAmount
    long bytes;

    @Label("Retries")
    int retries;

    @Label("Outcome")
    @Description("filled, failed or dropped")
    String outcome = "";
}
