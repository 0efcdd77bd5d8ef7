# Sourced: small questions about processes and ports, without tools that a fresh machine lacks.
# shellcheck shell=bash

# port_answers ADDRESS PORT
port_answers() {
  (exec 4<>"/dev/tcp/$1/$2") 2>/dev/null
}

# A port of the loopback address on which nobody listens, below those that the kernel gives to clients.
free_port() {
  local port try
  for try in $(seq 100); do
    port=$((20000 + (RANDOM + try) % 10000))
    if ! port_answers 127.0.0.1 "$port"; then
      echo "$port"
      return
    fi
  done
  echo "no free port from 20000 to 29999" >&2
  return 1
}

# runs PID WORD: there is such a process and its command line has WORD in it, so it is not a stranger with a used pid.
runs() {
  tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" | grep -qF -- "$2"
}

# end_process PID WORD: SIGTERM, 10 s, SIGKILL.
end_process() {
  local until=$((SECONDS + 10))
  runs "$1" "$2" || return 0
  kill -TERM "$1" 2>/dev/null || true
  while runs "$1" "$2"; do
    if [ "$SECONDS" -ge "$until" ]; then kill -KILL "$1" 2>/dev/null || true; fi
    sleep 0.1
  done
}

# processes_naming FOLDER MARK: processes with FOLDER in their command line, or with MARK in their environment.
processes_naming() {
  local folder
  for folder in /proc/[0-9]*; do
    if [ "${folder#/proc/}" = "$$" ] || [ "${folder#/proc/}" = "$BASHPID" ]; then continue; fi
    if grep -qsF -- "$1" "$folder/cmdline" || grep -qsF -- "$2" "$folder/environ"; then
      printf 'process %s (%s)\n' "${folder#/proc/}" "$(tr '\0' ' ' 2>/dev/null <"$folder/cmdline" | cut -c 1-80)"
    fi
  done
}

# mounts_below FOLDER
mounts_below() {
  cut -d ' ' -f 2 /proc/self/mounts | grep -F -- "$1" | sed 's/^/mount /' || true
}
