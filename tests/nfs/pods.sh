# What the scenarios are told with. Sourced by guest-test.sh after the harness's own library.

LOGS=$OUT/logs
PATIENCE=90                     # seconds until something that must happen counts as missing; nothing is asserted to be fast
declare -A PID URL
_port=8466
mkdir -p "$LOGS"

# daemon NAME POD [-u USER] [SETTING=VALUE...]: `dagsync run` in a pod, e.g. source=/mnt/efs/dags volume.settle=2s
daemon() {
    local name=$1 pod=$2 user=() set key
    shift 2
    if [ "${1:-}" = -u ]; then user=(-u "$2"); shift 2; fi
    _port=$((_port + 1))
    settings period=1s timeout=15s backoff.max=2s pod.name="$name" log.format=json http.bind="0.0.0.0:$_port" "$@"
    inpod "${user[@]}" "$pod" env "${SETTINGS[@]}" dagsync run >>"$LOGS/$name.log" 2>&1 &
    PID[$name]=$!
    URL[$name]=http://$(pod_ip "$pod"):$_port
}

# settings NAME=VALUE...: SETTINGS as dagsync's environment
settings() {
    local set key
    SETTINGS=()
    for set; do
        key=${set%%=*}
        key=${key//./__}
        SETTINGS+=("DAGSYNC_${key^^}=${set#*=}")
    done
}

status() { curl -s -m 5 "${URL[$1]}/v1/status"; }
# says NAME REGEX: its status, as one line of JSON, matches
says() { [[ $(status "$1") =~ $2 ]]; }
says_not() { ! says "$@"; }
# on NAME... VERSION: the daemons serve it
on() {
    local version=${!#}
    while [ $# -gt 1 ]; do says "$1" "\"version\":\"sha256:$version\"" || return; shift; done
}
# on_well NAME... VERSION: and their last sync went well
on_well() {
    on "$@" || return
    while [ $# -gt 1 ]; do says "$1" '"last_error":null' || return; shift; done
}
# fails NAME REGEX: its last sync failed with this
fails() { [[ $(problem "$1") =~ $2 ]]; }
# problem NAME: kind and message of its last error
problem() {
    local json
    json=$(status "$1") || { echo "no answer"; return; }
    python3 -c 'import json, sys; e = json.loads(sys.argv[1])["last_error"]; print(e and "%(kind)s: %(message)s" % e)' "$json"
}

# logged NAME REGEX
logged() { grep -qE -- "$2" "$LOGS/$1.log"; }
# published VERSION NAME...: how many of the daemons published it
published() {
    local version=$1 name count=0
    shift
    for name; do count=$((count + $(grep -c "\"message\":\"published\".*sha256:$version" "$LOGS/$name.log"))); done
    echo $count
}
equal() { [ "$1" = "$2" ] || { echo "  $1 is not $2"; return 1; }; }
alive() { kill -0 "${PID[$1]}"; }

# eventually CMD...: within PATIENCE
eventually() {
    local end=$((SECONDS + PATIENCE))
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.3
    done
}
# throughout SECONDS CMD...: not once otherwise
throughout() {
    local end=$((SECONDS + $1))
    shift
    while [ $SECONDS -lt $end ]; do
        "$@" || return
        sleep 0.5
    done
}
# took CMD...: runs it and notes how long it took
took() {
    local began rc=0
    began=$(now_ms)
    "$@" || rc=$?
    TOOK=$(($(now_ms) - began))
    return $rc
}

# end NAME...: SIGTERM; how each exits is no matter here
end() {
    local name began=$SECONDS
    for name; do kill -TERM "${PID[$name]}" 2>/dev/null; kill -CONT "${PID[$name]}" 2>/dev/null; done
    for name; do
        wait_until 30 eval "! kill -0 ${PID[$name]} 2>/dev/null" || { fail "$name ends on SIGTERM"; kill -KILL "${PID[$name]}"; }
        wait "${PID[$name]}" 2>/dev/null
        unset "PID[$name]"
    done
    [ $((SECONDS - began)) -lt 5 ] || note "$* ended only after $((SECONDS - began)) s"
}
end_all() { [ ${#PID[@]} = 0 ] || end "${!PID[@]}"; }

# version_of FOLDER: by hand, as anyone can check it
version_of() {
    (cd "$1" && find -L . -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-64)
}
# tree FOLDER N: the folder becomes generation N of some DAGs; VERSION is its version
tree() { VERSION=$(python3 make.py "$@"); }

# whole ROOT: the store's current version is what its manifest says, read without any cache of another pod
whole() { python3 -c 'import sys, trees; trees.current(sys.argv[1])' "$1"; }

# A repository that every pod reaches without the volume. commit N [BYTES]: generation N, with so much noise; sets VERSION.
REPOSITORY=/tmp/dags.git WORK=/tmp/dags
_git() { git --git-dir=$REPOSITORY --work-tree=$WORK -c user.name=test -c user.email=test@example.com -c gc.auto=0 "$@"; }
repository() { rm -rf $REPOSITORY && git init -q --bare -b main $REPOSITORY; }
commit() { tree $WORK "$@" && _git add -A && _git commit -qm "generation $1"; }
