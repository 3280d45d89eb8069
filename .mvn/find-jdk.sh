# shellcheck shell=sh
# Sourced by ./mvnw and ./prefetch: find_jdk sets and exports JAVA_HOME to a JDK that can build and run Prefetch.
# The order: JAVA_HOME, the java on PATH, then the newest of the JDKs in the usual places. It reads the `release` file
# that every JDK carries instead of starting each JVM, which would take longer than the search.

PREFETCH_JDK=25

# Prints the feature release (for example 25) of the JDK in folder $1; nothing when it is no JDK.
jdk_feature_release() {
    [ -x "$1/bin/java" ] && [ -x "$1/bin/javac" ] && [ -r "$1/release" ] || return 0
    sed -n 's/^JAVA_VERSION="\([0-9][0-9]*\).*/\1/p' "$1/release"
}

# Whether folder $1 is a JDK that is new enough.
jdk_is_suitable() {
    jdk_release=$(jdk_feature_release "$1")
    [ -n "$jdk_release" ] && [ "$jdk_release" -ge "$PREFETCH_JDK" ]
}

# Prints the home of the java on PATH, following symbolic links and wrappers such as jenv's.
jdk_on_path() {
    command -v java >/dev/null 2>&1 || return 0
    java -XshowSettings:properties -version 2>&1 | sed -n 's/^ *java\.home = //p'
}

# Prints the folders in which JDKs are usually installed, one a line, whether they exist or not.
jdk_candidates() {
    if [ -x /usr/libexec/java_home ]; then
        /usr/libexec/java_home -v "$PREFETCH_JDK+" 2>/dev/null || true
    fi
    for jdk_candidate in \
        /usr/lib/jvm/* /usr/lib64/jvm/* /usr/java/* /usr/local/openjdk-* /opt/* /opt/java/* /opt/jdk/* \
        "$HOME"/.sdkman/candidates/java/* "$HOME"/.jdks/* "$HOME"/.local/share/mise/installs/java/* \
        "$HOME"/.asdf/installs/java/* "$HOME"/.gradle/jdks/* \
        /Library/Java/JavaVirtualMachines/*/Contents/Home "$HOME"/Library/Java/JavaVirtualMachines/*/Contents/Home \
        /opt/homebrew/opt/openjdk*/libexec/openjdk.jdk/Contents/Home; do
        printf '%s\n' "$jdk_candidate"
    done
}

# Exports JAVA_HOME, or says in one sentence that there is no suitable JDK and returns 1.
find_jdk() {
    if [ -n "${JAVA_HOME:-}" ] && jdk_is_suitable "$JAVA_HOME"; then
        export JAVA_HOME
        return 0
    fi
    jdk_best=$(jdk_on_path)
    if [ -z "$jdk_best" ] || ! jdk_is_suitable "$jdk_best"; then
        jdk_best=$(
            jdk_candidates | while IFS= read -r jdk_home; do
                if jdk_is_suitable "$jdk_home"; then
                    printf '%s %s\n' "$jdk_release" "$jdk_home"
                fi
            done | sort -rn | sed -n '1s/^[0-9]* //p'
        )
    fi
    if [ -z "$jdk_best" ]; then
        echo "Prefetch needs JDK $PREFETCH_JDK or newer, and none was found in JAVA_HOME, on PATH or in the usual places (/usr/lib/jvm, /opt, ~/.sdkman, ~/.jdks, /Library/Java): install one, for example from https://adoptium.net, or set JAVA_HOME to it." >&2
        return 1
    fi
    JAVA_HOME=$jdk_best
    export JAVA_HOME
}
