#!/bin/sh
# Starts Java with a heap and regions that fit the container's memory limit.
#   start-java ARGUMENTS   also adds the words of JAVA_OPTS, which win over what is set here
#   java ARGUMENTS         the same without JAVA_OPTS
# Nothing is evaluated by a shell: JAVA_OPTS is only split at spaces, with quotes and backslashes as usual.
set -f
java_home=${0%/bin/*}/jre
own_arguments=$#
case "$0" in
    */java) options= ;;
    *) options=${JAVA_OPTS:-} ;;
esac
given="${JAVA_TOOL_OPTIONS:-} ${JDK_JAVA_OPTIONS:-} $options $*"

is_given() {
    case "$given" in
        *"$1"*) return 0 ;;
    esac
    return 1
}

# The limit in MiB: what the platform says, else what the kernel says, else nothing.
limit=
number=${MEMORY_LIMIT:-}
number=${number%%[!0-9]*}
case "${MEMORY_LIMIT:-}" in
    0* | '' | ????????????*) ;;
    "$number"[mM] | "$number"[mM][bB]) limit=$number ;;
    "$number"[gG] | "$number"[gG][bB]) limit=$((number * 1024)) ;;
esac
for file in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do
    if [ -z "$limit" ] && [ -r "$file" ] && read -r bytes <"$file"; then
        case "$bytes" in
            *[!0-9]* | '' | 0* | ??????????????*) ;;
            *) limit=$((bytes / 1048576)) ;;
        esac
    fi
done

if [ -n "$limit" ] && [ "$limit" -ge 1 ]; then
    # Metaspace: 5/16 of the limit, from 64 to 256.
    metaspace=$((limit * 5 / 16))
    [ "$metaspace" -ge 64 ] || metaspace=64
    [ "$metaspace" -le 256 ] || metaspace=256
    direct=$((limit / 8))
    [ "$direct" -ge 24 ] || direct=24
    if [ "$limit" -lt 512 ]; then
        code=32
    elif [ "$limit" -lt 1024 ]; then
        code=64
    elif [ "$limit" -lt 2048 ]; then
        code=128
    else
        code=240
    fi
    stacks=$((limit / 16))
    [ "$stacks" -le 128 ] || stacks=128
    # The heap gets what the others leave in an app of ordinary shape: three quarters of metaspace, half of the code
    # cache, a quarter of direct memory, the stacks, and the JVM itself. All at their most at once is not planned for.
    # Rounding is downwards in each.
    heap=$((limit - 24 - limit / 32 - metaspace * 3 / 4 - code / 2 - limit / 32 - stacks))
    [ "$heap" -ge $((limit / 4)) ] || heap=$((limit / 4))
    [ "$heap" -ge 8 ] || heap=8

    is_given -Xmx || is_given MaxHeapSize || is_given MaxRAM || is_given RAMPercentage || set -- "$@" "-Xmx${heap}m"
    is_given MaxMetaspaceSize || set -- "$@" "-XX:MaxMetaspaceSize=${metaspace}m"
    is_given ReservedCodeCacheSize || set -- "$@" "-XX:ReservedCodeCacheSize=${code}m"
    is_given MaxDirectMemorySize || set -- "$@" "-XX:MaxDirectMemorySize=${direct}m"
    if [ "$limit" -lt 512 ]; then
        is_given -Xss || is_given ThreadStackSize || set -- "$@" -Xss512k
    fi
    # Where the JVM would see a big host: what it chooses by itself on a machine of this size.
    if [ "$limit" -lt 1792 ]; then
        is_given -XX:+Use || set -- "$@" -XX:+UseSerialGC
    fi
    if [ "$limit" -lt 512 ]; then
        is_given TieredStopAtLevel || is_given TieredCompilation || set -- "$@" -XX:TieredStopAtLevel=1
    fi
fi
if [ -n "${TMPDIR:-}" ]; then
    is_given -Djava.io.tmpdir || set -- "$@" "-Djava.io.tmpdir=$TMPDIR"
fi
is_given OnOutOfMemoryError || set -- "$@" -XX:+ExitOnOutOfMemoryError

word=
begun=
while [ -n "$options" ]; do
    case "$options" in
        [[:space:]]*)
            options=${options#?}
            [ -z "$begun" ] || set -- "$@" "$word"
            word=
            begun=
            ;;
        \'*)
            options=${options#?}
            begun=1
            word=$word${options%%\'*}
            case "$options" in
                *\'*) options=${options#*\'} ;;
                *) options= ;;
            esac
            ;;
        \"*)
            options=${options#?}
            begun=1
            while [ -n "$options" ]; do
                case "$options" in
                    \"*)
                        options=${options#?}
                        break
                        ;;
                    \\[\"\\]*)
                        options=${options#?}
                        word=$word${options%"${options#?}"}
                        options=${options#?}
                        ;;
                    \\*)
                        word=$word\\
                        options=${options#?}
                        ;;
                    *)
                        piece=${options%%[\"\\]*}
                        word=$word$piece
                        options=${options#"$piece"}
                        ;;
                esac
            done
            ;;
        \\?*)
            options=${options#?}
            begun=1
            word=$word${options%"${options#?}"}
            options=${options#?}
            ;;
        \\)
            begun=1
            word=$word\\
            options=
            ;;
        *)
            begun=1
            piece=${options%%[[:space:]\'\"\\]*}
            word=$word$piece
            options=${options#"$piece"}
            ;;
    esac
done
[ -z "$begun" ] || set -- "$@" "$word"

# Our flags stand behind the caller's arguments so far: move those to the end.
while [ "$own_arguments" -gt 0 ]; do
    set -- "$@" "$1"
    shift
    own_arguments=$((own_arguments - 1))
done
# The JVM decodes variables and file names by the locale. en_US, which the platform sets, is not installed everywhere,
# and where one category fails all fall back to ASCII; C.UTF-8 is always there.
case "${LC_ALL:-}${LC_CTYPE:-}:${LANG:-}" in
    : | :C | :POSIX | :en_US.UTF-8) export LANG=C.UTF-8 ;;
esac
# glibc's many arenas cost a small container more than they give.
export MALLOC_ARENA_MAX="${MALLOC_ARENA_MAX:-2}"
exec "$java_home/bin/java" "$@"
