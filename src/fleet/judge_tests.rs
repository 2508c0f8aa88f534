use proptest::prelude::*;

use super::super::discover::Peer;
use super::super::fixture::{ago, answer, leader, now, pod, silent, v};
use super::super::reference::{Head, Heads};
use super::super::report::Finding;
use super::*;

const GRACE: Duration = Duration::from_secs(60);

fn of(basis: &Basis, asked: &[Asked]) -> Report {
    judge(asked, basis, GRACE, now())
}

#[track_caller]
fn states(report: &Report, expected: &[(&str, State)]) {
    let found: Vec<_> = report.pods.iter().map(|pod| (pod.name.as_str(), pod.state)).collect();
    assert_eq!(found, expected, "{report:#?}");
}

fn cause<'a>(report: &'a Report, name: &str) -> &'a str {
    report.pods.iter().find(|pod| pod.name == name).and_then(|pod| pod.cause.as_deref()).unwrap_or("")
}

#[test]
fn all_on_one_version_are_in_sync() {
    let report = of(&Basis::Majority, &[pod("a", answer(&[(1, 900)])), pod("b", answer(&[(1, 3)]))]);
    states(&report, &[("a", State::InSync), ("b", State::InSync)]);
    assert_eq!((report.finding(), report.groups.len()), (Finding::Fine, 1));
}

#[test]
fn who_is_elsewhere_converges_within_the_grace_period_and_has_drifted_after_it() {
    for (seconds, state, finding) in [(59, State::Converging, Finding::Fine), (60, State::Drifted, Finding::Drift)] {
        let asked = [leader("a", answer(&[(2, seconds), (1, 9_000)])), pod("b", answer(&[(1, 8_000)]))];
        let report = of(&Basis::Leader, &asked);
        states(&report, &[("a", State::InSync), ("b", state)]);
        assert_eq!((report.finding(), report.pods[1].since), (finding, Some(ago(seconds))));
    }
}

#[test]
fn a_pod_that_stands_still_behind_a_leader_that_moves_often_has_drifted() {
    let asked = [leader("a", answer(&[(4, 10), (3, 40), (2, 70), (1, 900)])), pod("b", answer(&[(1, 890)]))];
    let report = of(&Basis::Leader, &asked);
    states(&report, &[("a", State::InSync), ("b", State::Drifted)]);
    assert_eq!(report.pods[1].since, Some(ago(70)), "since it was left behind");
}

#[test]
fn a_pod_that_moves_often_and_never_to_the_right_place_has_drifted() {
    let asked = [leader("a", answer(&[(1, 900)])), pod("b", answer(&[(4, 10), (3, 40), (2, 70)]))];
    states(&of(&Basis::Leader, &asked), &[("a", State::InSync), ("b", State::Drifted)]);
}

#[test]
fn a_pod_that_follows_at_a_distance_converges() {
    let asked = [leader("a", answer(&[(3, 2), (2, 40), (1, 900)])), pod("b", answer(&[(2, 38), (1, 890)]))];
    states(&of(&Basis::Leader, &asked), &[("a", State::InSync), ("b", State::Converging)]);
}

#[test]
fn a_pod_knows_longer_than_its_history_that_it_is_behind() {
    let mut late = answer(&[(1, 5)]);
    (late.behind_since, late.state) = (Some(ago(300)), "stale".to_owned());
    late.last_error = Some("git: no route".to_owned());
    let report = of(&Basis::Leader, &[leader("a", answer(&[(2, 5)])), pod("b", late)]);
    states(&report, &[("a", State::InSync), ("b", State::Drifted)]);
    assert_eq!(cause(&report, "b"), "git: no route");
}

#[test]
fn a_stale_pod_on_the_right_version_is_in_sync_and_its_error_is_told() {
    let stale = Answer { state: "stale".into(), last_error: Some("down".into()), ..answer(&[(1, 900)]) };
    let report = of(&Basis::Majority, &[pod("a", answer(&[(1, 900)])), pod("b", stale)]);
    states(&report, &[("a", State::InSync), ("b", State::InSync)]);
    assert_eq!(cause(&report, "b"), "down");
}

#[test]
fn a_tampered_pod_is_drift_at_once_and_has_no_vote() {
    let tampered = || Answer { state: "tampered".into(), since: Some(ago(1)), ..answer(&[(2, 900)]) };
    let asked = [pod("a", answer(&[(1, 900)])), pod("b", tampered()), pod("c", tampered())];
    let report = of(&Basis::Majority, &asked);
    states(&report, &[("a", State::InSync), ("b", State::Tampered), ("c", State::Tampered)]);
    assert_eq!(report.finding(), Finding::Drift);
}

#[test]
fn other_globs_cannot_be_compared() {
    let other = Answer { filter_hash: "other".into(), ..answer(&[(2, 900)]) };
    let report = of(&Basis::Majority, &[pod("a", answer(&[(1, 9)])), pod("b", answer(&[(1, 9)])), pod("c", other)]);
    states(&report, &[("a", State::InSync), ("b", State::InSync), ("c", State::Incomparable)]);
    assert_eq!(report.finding(), Finding::Incomplete);
}

#[test]
fn who_cannot_be_asked_is_no_drift_and_not_fine() {
    for (phase, state) in [(Phase::Running, State::Unreachable), (Phase::Missing, State::Missing)] {
        let report = of(&Basis::Majority, &[pod("a", answer(&[(1, 9)])), silent("b", phase)]);
        states(&report, &[("a", State::InSync), ("b", state)]);
        assert_eq!(report.finding(), Finding::Incomplete);
    }
}

#[test]
fn who_starts_and_does_not_answer_yet_is_on_the_way() {
    let report = of(&Basis::Majority, &[pod("a", answer(&[(1, 9)])), silent("b", Phase::Starting)]);
    states(&report, &[("a", State::InSync), ("b", State::Converging)]);
    assert_eq!(report.finding(), Finding::Fine);
}

#[test]
fn who_ends_never_makes_drift_and_has_no_vote() {
    let ends = |name: &str| {
        let mut pod = pod(name, answer(&[(2, 900)]));
        pod.peer.phase = Phase::Terminating;
        pod
    };
    let report = of(&Basis::Majority, &[pod("a", answer(&[(1, 9)])), ends("b"), ends("c")]);
    states(&report, &[("a", State::InSync), ("b", State::Terminating), ("c", State::Terminating)]);
    assert_eq!((report.finding(), report.groups.len()), (Finding::Fine, 1));
}

#[test]
fn who_starts_is_given_the_grace_period() {
    for (seconds, state) in [(5, State::Converging), (500, State::Drifted)] {
        let mut starts = Answer { state: "starting".into(), behind_since: Some(ago(seconds)), ..answer(&[]) };
        starts.last_error = Some("no such branch".into());
        let report = of(&Basis::Majority, &[pod("a", answer(&[(1, 900)])), pod("b", starts)]);
        states(&report, &[("a", State::InSync), ("b", state)]);
        assert_eq!(cause(&report, "b"), "no such branch");
    }
}

#[test]
fn leaders_that_disagree_are_drift_and_so_is_who_follows_one_of_them() {
    let asked = |seconds| {
        let (a, b) = (leader("a", answer(&[(1, 900)])), leader("b", answer(&[(2, seconds), (1, 900)])));
        [a, b, pod("c", answer(&[(1, 900)]))]
    };
    let report = of(&Basis::Leader, &asked(300));
    states(&report, &[("a", State::Drifted), ("b", State::Drifted), ("c", State::Drifted)]);
    assert_eq!(cause(&report, "b"), "the leaders disagree");
    let report = of(&Basis::Leader, &asked(3));
    states(&report, &[("a", State::Converging), ("b", State::Converging), ("c", State::Converging)]);
}

#[test]
fn a_leader_that_is_silent_leaves_the_majority_to_say() {
    let lost = Asked { leads: true, ..silent("a", Phase::Running) };
    let report = of(
        &Basis::Leader,
        &[lost, pod("b", answer(&[(1, 900)])), pod("c", answer(&[(1, 900)])), pod("d", answer(&[(2, 900)]))],
    );
    states(&report, &[("a", State::Unreachable), ("b", State::InSync), ("c", State::InSync), ("d", State::Drifted)]);
    assert!(report.standard.note.as_deref().unwrap().contains("no leader"), "{:?}", report.standard);
}

#[test]
fn a_tie_is_told() {
    let report = of(&Basis::Majority, &[pod("a", answer(&[(1, 900)])), pod("b", answer(&[(2, 900)]))]);
    states(&report, &[("a", State::Drifted), ("b", State::Drifted)]);
    assert!(cause(&report, "a").contains("as many pods"), "{report:#?}");
}

#[test]
fn a_version_that_was_asked_for_has_no_grace_for_old_ones() {
    let report = of(&Basis::Version(v(2)), &[pod("a", answer(&[(1, 900)])), pod("b", answer(&[(2, 9)]))]);
    states(&report, &[("a", State::Drifted), ("b", State::InSync)]);
}

/// The heads that were seen so many seconds ago, the newest first.
fn head(seen: &[(u64, u64)]) -> Basis {
    let mut heads = Heads::default();
    seen.iter().rev().for_each(|(n, seconds)| heads.note(v(*n), ago(*seconds)));
    let (version, revision) = (v(seen[0].0), format!("r{}", seen[0].0));
    Basis::Head(Head { version, revision, filter_hash: "usual".into(), heads })
}

/// Heads that moved every twenty seconds for an hour.
fn busy() -> Basis {
    head(&(0..180).map(|n| (1_000 - n, 7 + 20 * n)).collect::<Vec<_>>())
}

#[test]
fn a_pod_that_was_on_the_head_of_a_moment_ago_converges_however_often_the_head_moves() {
    // It has been a version or two behind all the time, and says so.
    let stays: Vec<_> = (2..20).map(|n| (1_000 - n, 20 * (n - 2) + 3)).collect();
    let late = Answer { behind_since: Some(ago(3_000)), state: "stale".into(), ..answer(&stays) };
    let report = of(&busy(), &[pod("a", late)]);
    states(&report, &[("a", State::Converging)]);
    assert_eq!(report.pods[0].since, Some(ago(27)), "since the head moved on from where it is");
}

#[test]
fn a_pod_that_lags_for_longer_than_the_grace_period_has_drifted_though_the_head_moves_all_the_time() {
    let report = of(&busy(), &[pod("a", answer(&[(996, 80)])), pod("b", answer(&[(5, 9_000)]))]);
    states(&report, &[("a", State::Drifted), ("b", State::Drifted)]);
    assert_eq!((report.pods[0].since, report.pods[1].since), (Some(ago(67)), Some(ago(7 + 20 * 179))));
}

#[test]
fn a_pod_that_goes_back_to_an_old_version_is_given_the_grace_period_too() {
    let asked = [leader("a", answer(&[(1, 300), (2, 900)])), pod("b", answer(&[(2, 10), (1, 290)]))];
    let report = of(&Basis::Leader, &asked);
    states(&report, &[("a", State::InSync), ("b", State::Converging)]);
    assert_eq!(report.pods[1].since, Some(ago(10)));
}

#[test]
fn that_a_pod_is_behind_another_target_than_ours_does_not_age_its_drift() {
    let mut other = answer(&[(3, 10), (1, 900)]);
    (other.behind_since, other.target_version) = (Some(ago(5_000)), Some(v(7)));
    let report = of(&Basis::Leader, &[leader("a", answer(&[(1, 900)])), pod("b", other.clone())]);
    states(&report, &[("a", State::InSync), ("b", State::Converging)]);
    assert_eq!(report.pods[1].since, Some(ago(10)), "since it went off the reference");
    other.target_version = Some(v(1));
    states(
        &of(&Basis::Leader, &[leader("a", answer(&[(1, 900)])), pod("b", other)]),
        &[("a", State::InSync), ("b", State::Drifted)],
    );
}

#[test]
fn only_pods_that_end_are_not_a_fleet_in_sync() {
    let mut ends = pod("a", answer(&[(1, 900)]));
    ends.peer.phase = Phase::Terminating;
    let report = of(&Basis::Majority, &[ends]);
    states(&report, &[("a", State::Terminating)]);
    assert_eq!(report.finding(), Finding::Incomplete);
    assert_eq!(report.headline(), "INCOMPLETE: nobody to compare, 1 terminating");
}

#[test]
fn a_pod_is_called_as_kubernetes_says_whatever_it_claims() {
    let claims = Answer { namespace: "kube-system".into(), node: "n9".into(), ..answer(&[(1, 900)]) };
    let mut asked = pod("scheduler-0", Answer { component: "scheduler".into(), ..claims });
    asked.peer.name = "evil-0".to_owned();
    let free = of(&Basis::Majority, &[asked.clone()]);
    assert_eq!((free.pods[0].name.as_str(), free.pods[0].node.as_deref()), ("scheduler-0", Some("n9")));
    (asked.peer.namespace, asked.peer.component) = (Some("tenant".to_owned()), Some("worker".to_owned()));
    let report = of(&Basis::Majority, &[asked]);
    let Verdict { name, namespace, component, .. } = &report.pods[0];
    assert_eq!((name.as_str(), namespace.as_deref(), component.as_deref()), ("evil-0", Some("tenant"), Some("worker")));
}

#[test]
fn a_head_that_is_new_to_all_gives_them_the_grace_period() {
    let head = |seen| head(&[(9, seen)]);
    let asked = [pod("a", answer(&[(1, 900)])), pod("b", answer(&[(1, 900)]))];
    states(&of(&head(0), &asked), &[("a", State::Converging), ("b", State::Converging)]);
    states(&of(&head(60), &asked), &[("a", State::Drifted), ("b", State::Drifted)]);
    let asked = [pod("a", answer(&[(1, 900)])), pod("b", answer(&[(9, 100)]))];
    states(&of(&head(0), &asked), &[("a", State::Drifted), ("b", State::InSync)]);
    let knows = Answer { behind_since: Some(ago(100)), target_revision: Some("r9".into()), ..answer(&[(1, 900)]) };
    states(&of(&head(0), &[pod("a", knows)]), &[("a", State::Drifted)]);
}

#[test]
fn after_a_revert_a_pod_that_never_left_makes_nobody_else_drift() {
    let stuck = || pod("stuck", answer(&[(1, 80_000)]));
    let moved = |name: &str| pod(name, answer(&[(2, 3_600), (1, 80_000)]));
    let report = of(&head(&[(1, 5)]), &[stuck(), moved("w0"), moved("w1")]);
    states(&report, &[("stuck", State::InSync), ("w0", State::Converging), ("w1", State::Converging)]);
    // The first that comes back tells since when; before that, what this process saw.
    let back = pod("back", answer(&[(1, 70), (2, 3_600), (1, 80_000)]));
    let report = of(&head(&[(1, 5)]), &[back, stuck(), moved("w0")]);
    states(&report, &[("back", State::InSync), ("stuck", State::InSync), ("w0", State::Drifted)]);
    assert_eq!(report.pods[2].since, Some(ago(70)));
    let report = of(&head(&[(1, 61), (2, 3_600)]), &[stuck(), moved("w0")]);
    states(&report, &[("stuck", State::InSync), ("w0", State::Drifted)]);
}

#[test]
fn with_watch_a_revert_did_not_happen_before_the_last_look_at_the_bad_head() {
    let mut heads = Heads::default();
    (0..100).for_each(|n| heads.note(v(2), ago(4_000 - n * 40)));
    heads.note(v(1), ago(5));
    let head = Head { version: v(1), revision: "r1".into(), filter_hash: "usual".into(), heads };
    // Their histories are lost, so nobody says that the head was left.
    let asked = [pod("stuck", answer(&[(1, 80_000)])), pod("w0", answer(&[(2, 3_600)]))];
    let report = of(&Basis::Head(head), &asked);
    states(&report, &[("stuck", State::InSync), ("w0", State::Converging)]);
    assert_eq!(report.pods[1].since, Some(ago(40)));
}

#[test]
fn a_leader_that_follows_itself_is_not_a_fleet_in_sync() {
    for (seconds, state, finding) in [(59, State::Converging, Finding::Fine), (60, State::Drifted, Finding::Drift)] {
        let lost = |behind| Answer {
            target_error: Some("the leader is this very pod".into()),
            behind_since: behind,
            ..answer(&[(1, 900)])
        };
        let asked = [leader("a", lost(Some(ago(seconds)))), pod("b", answer(&[(1, 900)]))];
        let report = of(&Basis::Leader, &asked);
        states(&report, &[("a", state), ("b", State::InSync)]);
        assert_eq!((report.finding(), report.pods[0].since), (finding, Some(ago(seconds))));
        assert!(cause(&report, "a").ends_with("where it should be: the leader is this very pod"), "{report:#?}");
        assert_eq!(report.standard.note.as_deref(), Some("a leader does not know itself where it should be"));
    }
    // That its source fails is an error, and where it should be is known.
    let failing = Answer { last_error: Some("no route".into()), state: "stale".into(), ..answer(&[(1, 900)]) };
    let report = of(&Basis::Leader, &[leader("a", failing), pod("b", answer(&[(1, 900)]))]);
    states(&report, &[("a", State::InSync), ("b", State::InSync)]);
    assert_eq!((report.standard.note.as_deref(), cause(&report, "a")), (None, "no route"));
}

#[test]
fn nobody_has_a_version() {
    let report = of(&Basis::Majority, &[silent("a", Phase::Running)]);
    assert!(report.standard.candidates.is_empty() && report.finding() == Finding::Incomplete);
    assert_eq!(of(&Basis::Leader, &[]).finding(), Finding::Incomplete);
}

#[test]
fn pods_of_one_name_are_told_apart() {
    let mut twin = pod("a", answer(&[(1, 9)]));
    twin.peer = Peer::at("http://b:8466");
    let report = of(&Basis::Majority, &[pod("a", answer(&[(1, 9)])), twin]);
    let names: Vec<_> = report.pods.iter().map(|pod| pod.name.as_str()).collect();
    assert_eq!(names, ["a at http://a:8466", "a at http://b:8466"]);
}

fn any_pod() -> impl Strategy<Value = Asked> {
    let state =
        prop::sample::select(vec!["converged", "stale", "tampered", "starting", "standby", "unsealed", "future"]);
    let phase = prop::sample::select(vec![Phase::Running, Phase::Starting, Phase::Terminating, Phase::Missing]);
    let stays = prop::collection::vec((0..4u64, 0..200u64), 0..4);
    let behind = prop::option::of(0..200u64);
    (0..12u32, any::<[bool; 3]>(), state, phase, stays, behind).prop_map(
        |(n, flags, state, phase, mut stays, behind)| {
            stays.sort_by_key(|(_, seconds)| *seconds);
            let filter_hash = if flags[0] { "usual" } else { "other" }.to_owned();
            let behind_since = behind.map(ago);
            let mut pod =
                pod(&format!("p{n}"), Answer { filter_hash, behind_since, state: state.into(), ..answer(&stays) });
            (pod.leads, pod.peer.phase) = (flags[1], phase);
            if flags[2] { Asked { leads: flags[1], ..silent(&format!("p{n}"), phase) } } else { pod }
        },
    )
}

fn any_basis() -> impl Strategy<Value = Basis> {
    let heads = head(&[(1, 30), (2, 90), (0, 150)]);
    prop::sample::select(vec![Basis::Leader, Basis::Majority, Basis::Version(v(1)), heads])
}

/// Up to a dozen pods, each with its own address; names may be equal.
fn any_fleet() -> impl Strategy<Value = Vec<Asked>> {
    prop::collection::vec(any_pod(), 0..12).prop_map(|mut asked| {
        let addresses = asked.iter_mut().enumerate();
        addresses.for_each(|(n, asked)| asked.peer.url = Some(format!("http://10.0.0.{n}:8466")));
        asked
    })
}

proptest! {
    #[test]
    fn the_order_of_answers_does_not_matter(
        (asked, shuffled) in any_fleet().prop_flat_map(|asked| (Just(asked.clone()), Just(asked).prop_shuffle())),
        basis in any_basis(),
    ) {
        prop_assert_eq!(of(&basis, &asked), of(&basis, &shuffled));
    }

    #[test]
    fn every_pod_has_one_verdict_and_every_version_its_pods(asked in any_fleet(), basis in any_basis()) {
        let report = of(&basis, &asked);
        prop_assert_eq!(report.pods.len(), asked.len());
        let counted: usize = State::ALL.into_iter().map(|state| report.count(state)).sum();
        prop_assert_eq!(counted, asked.len());
        let grouped: usize = report.groups.iter().map(|group| group.pods).sum();
        let on_a_version = report.pods.iter().filter(|p| p.version.is_some() && p.state != State::Terminating).count();
        prop_assert_eq!(grouped, on_a_version);
    }

    #[test]
    fn fine_means_that_nobody_is_elsewhere_for_longer_than_the_grace_period(
        asked in any_fleet(), basis in any_basis(),
    ) {
        let report = of(&basis, &asked);
        if report.finding() == Finding::Fine {
            for pod in report.pods.iter().filter(|pod| pod.state != State::Terminating) {
                prop_assert!(matches!(pod.state, State::InSync | State::Converging));
                let is_recent = pod.since.is_none_or(|since| now().duration_since(since).unwrap() < GRACE);
                prop_assert!(pod.state == State::InSync || is_recent);
            }
            let in_sync: std::collections::BTreeSet<_> =
                report.pods.iter().filter(|pod| pod.state == State::InSync).map(|pod| pod.version).collect();
            prop_assert!(in_sync.len() <= 1, "two versions are both in sync: {:?}", report);
        }
    }

    #[test]
    fn a_pod_that_cannot_be_asked_is_never_fine_and_hides_no_drift(
        asked in any_fleet(), basis in any_basis(),
    ) {
        let before = of(&basis, &asked).finding();
        let more: Vec<_> = asked.into_iter().chain([silent("q", Phase::Running)]).collect();
        let after = of(&basis, &more).finding();
        prop_assert_eq!(after, if before == Finding::Drift { Finding::Drift } else { Finding::Incomplete });
    }

    #[test]
    fn more_grace_never_finds_more_drift(asked in any_fleet(), basis in any_basis()) {
        let drift = |grace| judge(&asked, &basis, Duration::from_secs(grace), now()).pods.iter().filter(|p| p.state.is_drift()).count();
        prop_assert!(drift(120) <= drift(30));
    }
}
