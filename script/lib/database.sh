# Sourced by script/demo: the guestbook's database, the first of these that there is.
#
#   1. the one the caller names with MONGODB_URI
#   2. a mongod on PATH
#   3. the image mongo, where a Docker engine answers and the pull takes less than 10 s
#   4. script/demo-db: mongo-java-server with its H2 backend, from Maven Central
#
# Why the last one and not another MongoDB-compatible server from a package registry: it is pure Java, so it needs
# only the JDK and Maven that the guestbook needs anyway, is fetched in seconds, keeps its data in a file, and answers
# the official driver. The Rust crate polodb compiles RocksDB first, which takes minutes and a C++ toolchain. PyPI's
# SecantusDB calls itself beta, is under the GPL, and comes as wheels for some Pythons on some machines only.
#
# None of 2 to 4 asks for a password, so they listen on the loopback address only. Instances in containers reach that as
# host.slipway.internal.
#
# Sets database_uri, and database_name for people. Needs what script/demo sets before it calls choose_database.
# shellcheck shell=bash disable=SC2034,SC2154

MOST_SECONDS_FOR_DATABASE=60

choose_database() {
  local folder=$data/database
  if [ -n "$given_uri" ]; then
    database_uri=$given_uri
    database_name="yours, from MONGODB_URI"
    return
  fi
  database_port=$(cat "$folder/port" 2>/dev/null || true)
  if database_runs "$folder" && database_answers; then
    database_name="$(cat "$folder/name") (already running)"
  else
    stop_database
    start_database "$folder"
    printf '%s\n' "$database_name" >"$folder/name"
    printf '%s\n' "$database_port" >"$folder/port"
  fi
  database_uri="mongodb://$(host_for_instances):$database_port/guestbook"
}

start_database() {
  local folder=$1
  # If possible the same port as last time, where an app that was pushed then looks for its database.
  if [ -z "$database_port" ] || port_answers 127.0.0.1 "$database_port"; then
    database_port=$(free_port)
  fi
  local log=$logs/database.log
  if command -v mongod >/dev/null; then
    if start_mongod "$folder" "$log"; then return; fi
    note "the mongod on PATH did not start (see $log), so another database is used"
  fi
  if docker_answers; then
    if ! timeout 10 docker pull -q mongo >>"$log" 2>&1 </dev/null; then
      note "Docker answers, but the image mongo did not come within 10 s, so another database is used"
    elif start_mongo_image "$folder" "$log"; then
      return
    else
      note "the image mongo did not start (see $log), so another database is used"
    fi
  fi
  start_demo_db "$folder" "$log" || fail "the database did not start" "$log"
}

start_mongod() {
  local folder=$1 log=$2
  mkdir -p "$folder/mongod"
  setsid mongod --dbpath "$folder/mongod" --port "$database_port" --bind_ip 127.0.0.1 --nounixsocket \
    --wiredTigerCacheSizeGB 0.25 >>"$log" 2>&1 </dev/null 3>&- &
  echo $! >"$folder/pid"
  database_name="mongod $(mongod --version 2>/dev/null | sed -n '1s/^db version v//p') from PATH"
  wait_for_database "$folder"
}

docker_answers() {
  command -v docker >/dev/null && timeout 5 docker version --format '{{.Server.Version}}' >/dev/null 2>&1 </dev/null
}

start_mongo_image() {
  local folder=$1 log=$2 container volume=()
  # A container that was not removed by its own --rm, because its engine was killed.
  docker rm -f "$(docker_name)" >>"$log" 2>&1 </dev/null || true
  [ "$mode" = check ] || volume=(-v "$(docker_name):/data/db")
  container=$(docker run -d --rm --name "$(docker_name)" -p "127.0.0.1:$database_port:27017" "${volume[@]}" mongo \
    2>>"$log" </dev/null) || return 1
  echo "$container" >"$folder/container"
  database_name="the image mongo, run by Docker"
  if wait_for_database "$folder"; then return; fi
  docker logs "$container" >>"$log" 2>&1 </dev/null || true
  stop_database
  return 1
}

# One name for each data folder, so that two demos on one machine do not meet.
docker_name() {
  echo "slipway-demo-$(printf '%s' "$data" | cksum | cut -d ' ' -f 1)"
}

start_demo_db() {
  local folder=$1 log=$2
  mvn -q -B -f "$repository/script/demo-db/pom.xml" "-DbuildFolder=$folder/build" package >>"$log" 2>&1 </dev/null ||
    return 1
  setsid java -Xmx96m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dslf4j.internal.verbosity=ERROR \
    -jar "$folder/build/demo-db-1.0.0.jar" "$folder/entries.h2" "$database_port" >>"$log" 2>&1 </dev/null 3>&- &
  echo $! >"$folder/pid"
  database_name="mongo-java-server with its H2 backend"
  wait_for_database "$folder"
}

# Until it answers, or is gone.
wait_for_database() {
  local until=$((SECONDS + MOST_SECONDS_FOR_DATABASE))
  until database_answers; do
    if ! database_runs "$1" || [ "$SECONDS" -ge "$until" ]; then return 1; fi
    sleep 0.1
  done
}

database_answers() {
  port_answers 127.0.0.1 "$database_port"
}

database_runs() {
  local folder=$1
  if [ -f "$folder/pid" ]; then
    runs "$(cat "$folder/pid")" "$folder"
  elif [ -f "$folder/container" ]; then
    [ "$(docker inspect -f '{{.State.Running}}' "$(cat "$folder/container")" 2>/dev/null </dev/null)" = true ]
  else
    false
  fi
}

stop_database() {
  local folder=$data/database
  if [ -f "$folder/pid" ]; then
    end_process "$(cat "$folder/pid")" "$folder"
    rm -f "$folder/pid"
  fi
  if [ -f "$folder/container" ]; then
    docker stop -t 10 "$(cat "$folder/container")" >/dev/null 2>&1 </dev/null || true
    rm -f "$folder/container"
  fi
}
