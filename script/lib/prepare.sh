# Sourced: finds the tools this repository needs, and installs the missing ones from Debian's archive.
# shellcheck shell=bash

# Some services of continuous integration set none.
export HOME=${HOME:-~}
# Where rustup puts cargo; a shell that has not been started anew since does not look there.
PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"

# Runs a command as root, by sudo where that is needed.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null && (: </dev/tty) 2>/dev/null; then
    # sudo asks there, wherever input and output go.
    sudo "$@"
  elif command -v sudo >/dev/null; then
    sudo -n "$@"
  else
    echo "this needs root, and there is no sudo: $*" >&2
    return 1
  fi
}

install_packages() {
  if ! command -v apt-get >/dev/null; then
    echo "missing: $*. This script installs only on Debian and Ubuntu; install them yourself and start it again." >&2
    return 1
  fi
  echo "installing $*"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o Acquire::Retries=3 update &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Acquire::Retries=3 --no-install-recommends install "$@"
}

# version_at_least HAVE WANT
version_at_least() {
  [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# The version of Debian's package that would be installed; empty if there is none.
package_version() {
  local version
  version=$(apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: *//p') || return 0
  [ "$version" = "(none)" ] || echo "$version"
}

# need COMMAND PACKAGE...: notes the packages if the command is missing. ensure_noted then installs them at once.
noted_packages=()
need() {
  local command=$1
  shift
  command -v "$command" >/dev/null || noted_packages+=("$@")
}

ensure_noted() {
  [ "${#noted_packages[@]}" = 0 ] || install_packages "${noted_packages[@]}" || return 1
  noted_packages=()
}

# The Java buildpack uses the machine's JDK and Maven. A container sees /usr alone, so both have to lie there.
lies_in_usr() {
  local found
  found=$(command -v "$1") && case $(readlink -f "$found") in /usr/*) true ;; *) false ;; esac
}

java_is_new_enough() {
  local version
  version=$(javac -version 2>&1 | sed -n 's/^javac \([0-9]*\).*/\1/p')
  [ -n "$version" ] && [ "$version" -ge 17 ]
}

need_java() {
  if ! lies_in_usr javac || ! java_is_new_enough; then
    # A machine that never updated its package lists knows no versions; the older name is in every Debian since 11.
    if [ -n "$(package_version openjdk-17-jdk-headless)" ] || [ -z "$(package_version default-jdk-headless)" ]; then
      noted_packages+=(openjdk-17-jdk-headless)
    else
      noted_packages+=(default-jdk-headless)
    fi
  fi
  lies_in_usr mvn || noted_packages+=(maven)
}

wanted_rust() {
  sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$1/Cargo.toml"
}

rust_is_new_enough() {
  local have
  have=$(cargo --version 2>/dev/null | sed -n 's/^cargo \([0-9.]*\).*/\1/p')
  [ -n "$have" ] && version_at_least "$have" "$1"
}

# What rustup's own install script does, but from the one host that the toolchain comes from anyway. rustup's variables
# for mirrors are respected.
install_rustup() {
  local folder from
  from=${RUSTUP_UPDATE_ROOT:-https://static.rust-lang.org/rustup}/dist/$(uname -m)-unknown-linux-gnu/rustup-init
  folder=$(mktemp -d) || return 1
  (
    cd "$folder" &&
      curl --proto '=https' --tlsv1.2 -sSf --retry 3 -o rustup-init "$from" -o sha256 "$from.sha256" &&
      echo "$(cut -d ' ' -f 1 sha256)  rustup-init" | sha256sum -c - &&
      chmod +x rustup-init &&
      ./rustup-init -y --profile minimal --no-modify-path
  )
  local status=$?
  rm -rf "$folder"
  return "$status"
}

# ensure_rust REPOSITORY: a cargo on PATH that is new enough. Call ensure_noted first, for curl.
ensure_rust() {
  local want debian
  want=$(wanted_rust "$1")
  if rust_is_new_enough "$want"; then
    return 0
  fi
  debian=$(package_version cargo)
  if command -v rustup >/dev/null; then
    rustup toolchain install stable --profile minimal && rustup default stable
  elif [ -n "$debian" ] && version_at_least "$debian" "$want"; then
    install_packages cargo rustc
  else
    install_rustup
  fi || return 1
  hash -r
  if ! rust_is_new_enough "$want"; then
    echo "no Rust $want or newer could be installed; see https://rustup.rs and start this again" >&2
    return 1
  fi
}

# again COMMAND...: up to three tries, for what depends on other machines.
again() {
  "$@" || { sleep 5 && "$@"; } || { sleep 20 && "$@"; }
}

# Where cargo puts what it builds.
target_folder() {
  cargo metadata --manifest-path "$1/Cargo.toml" --no-deps --format-version 1 --locked |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'
}
