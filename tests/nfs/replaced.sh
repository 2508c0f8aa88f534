# A writer replaces the DAGs on the volume in every way people do; two pods copy them. Whatever they publish was the
# volume's true state in some round, and whenever the volume rests, both are on it.
DAGS=$AT/dags
mkdir -p "$ON_SERVER/dags"
for pod in B C; do
    daemon "replaced-$pod" $pod source="$DAGS" root=/tmp/replaced-$pod volume.mode=copy volume.settle=1s volume.fresh=true \
        keep.versions=1000 scrub.interval=5s
done
check "replaced: every quiet state is reached by both readers" \
    inpod A python3 /payload/churn.py "$DAGS" /tmp/known "${GT_ROUNDS:-60}" "${URL[replaced-B]}" "${URL[replaced-C]}"
by_hand=$(version_of "$POD_A/replaced/dags")
check "replaced: the version is what find, sort and sha256sum say" equal "$by_hand" "$(tail -1 /tmp/known)"
for pod in B C; do
    check "replaced: everything that $pod published was on the volume" python3 verify.py /tmp/replaced-$pod /tmp/known
    check "replaced: $pod is on the last version" equal "$(readlink /tmp/replaced-$pod/current | cut -d/ -f2 | cut -d. -f1)" "$by_hand"
    check "replaced: $pod saw nobody tamper with its store" eval '! logged replaced-$pod tamper'
done
note "calls of B to the server: $(for op in GETATTR LOOKUP OPEN READ READDIR ACCESS; do printf '%s %s  ' $op "$(rpc_count B $op)"; done)"
end_all
rm -rf /tmp/replaced-* /tmp/churn
