# Sourced by parts that need a running platform: one in a folder of its own, gone at the end.
# shellcheck shell=bash
# `slipway` comes from who sources this, and `took` is for it.
# shellcheck disable=SC2154,SC2034

# Needs `slipway`, the binary's path.
begin_platform() {
  folder=$(mktemp -d)
  data=$folder/data
  export SLIPWAY_HOME=$folder/client SLIPWAY_ADMIN_PASSWORD=bench-only-password
  up=
  trap end_platform EXIT
  port=$(free_port)
  api=http://127.0.0.1:$port
}

# Starts the platform and waits until it says that it is ready. Leaves the seconds in `took`.
start_platform() {
  local begun line
  begun=$EPOCHREALTIME
  mkfifo "$folder/said"
  "$slipway" up --data "$data" --listen "127.0.0.1:$port" >"$folder/said" 2>"$folder/up.log" &
  up=$!
  exec 5<"$folder/said"
  rm "$folder/said"
  while read -r -t 60 line <&5; do
    case $line in
      *"is ready in"*)
        took=$(since "$begun")
        return
        ;;
    esac
  done
  echo "the platform did not become ready" >&2
  cat "$folder/up.log" >&2
  return 1
}

# As Ctrl-C does; apps go on.
stop_platform() {
  kill -INT "$up"
  wait "$up" || true
  up=
  exec 5<&-
}

end_platform() {
  if [ -n "$up" ]; then stop_platform; fi
  "$slipway" down --data "$data" >&2 || true
  rm -rf "$folder"
}

log_in() {
  SLIPWAY_PASSWORD=$SLIPWAY_ADMIN_PASSWORD "$slipway" login -a "$api" -u admin >&2
}

# since MOMENT: seconds from a value of EPOCHREALTIME until now.
since() {
  awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.3f", to - from }'
}

# median NUMBER...
median() {
  printf '%s\n' "$@" | sort -g | awk '{ all[NR] = $1 } END { print all[int(NR / 2) + 1] }'
}

figure() {
  printf 'figure %s %s %s\n' "$1" "$2" "$3"
}
