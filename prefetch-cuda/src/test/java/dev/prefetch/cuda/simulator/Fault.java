package dev.prefetch.cuda.simulator;

import java.time.Duration;

/**
 * A fault at one call of one driver function. Functions are named without their suffix for the version of the
 * interface: {@code cuMemAlloc}, {@code cuMemcpyHtoDAsync}; {@code cuLaunchKernel.NAME} counts one kernel's launches.
 *
 * @param text  in the driver's notation
 */
public record Fault(String text) {

    /** The call itself returns an error, and does nothing. */
    public static Fault returned(String function, int call, int error) {
        return new Fault(function + ':' + call + '=' + error);
    }

    /** This call and every later one return an error. */
    public static Fault returnedFrom(String function, int call, int error) {
        return new Fault(function + ':' + call + "+=" + error);
    }

    /** The operation that the call starts fails when it runs; the context is lost, and every later call says so. */
    public static Fault sticky(String function, int call, int error) {
        return new Fault(function + ':' + call + '=' + error + '!');
    }

    /** The operation that the call starts never ends, until {@link SimulatedDriver#releaseHangs}. */
    public static Fault hang(String function, int call) {
        return new Fault(function + ':' + call + "=hang");
    }

    /** The operation that the call starts takes longer. */
    public static Fault delay(String function, int call, Duration delay) {
        return new Fault(function + ':' + call + "=delay" + delay.toNanos() / 1e3);
    }
}
