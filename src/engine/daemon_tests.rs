//! The time before the first sync, and ending after it.

use super::*;

fn down(story: &Story, times: usize) {
    story.faults.next(Call::Resolve, vec![Fault::Error(ErrorKind::Unreachable); times]);
}

async fn first_sync(story: &Story) -> Result<()> {
    run_loop(story.engine(), &story.config, &story.wake, &story.token, Until::FirstSync).await
}

#[tokio::test(start_paused = true)]
async fn until_the_first_sync_its_own_number_of_failures_counts() {
    for (initial, max, calls) in [(Some(2), -1, 2), (Some(4), 1, 4), (None, 3, 3), (Some(0), 5, 1)] {
        let mut story = Story::new(&[file("a.py", "1")]);
        (story.config.init_max_failures, story.config.max_failures) = (initial, max);
        story.faults.always(Call::Resolve, Fault::Error(ErrorKind::Unreachable));
        story.run_until(|_| false).await.unwrap_err();
        assert_eq!(story.faults.calls(Call::Resolve), calls, "{initial:?} {max}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_first_sync_the_other_number_counts() {
    let mut story = Story::new(&[file("a.py", "1")]);
    (story.config.init_max_failures, story.config.max_failures) = (Some(-1), 2);
    let fails = || async {
        while story.board.read().version.is_none() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        story.faults.always(Call::Resolve, Fault::Error(ErrorKind::Unreachable));
        std::future::pending::<Result<()>>().await
    };
    down(&story, 3);
    let ended = tokio::select! {
        ended = story.run_until(|_| false) => ended,
        never = fails() => never,
    };
    ended.unwrap_err();
    assert_eq!(story.board.read().last_error.as_ref().map(|e| e.attempts), Some(2));
    assert!(story.board.read().version.is_some());
}

#[tokio::test(start_paused = true)]
async fn until_the_first_sync_the_initial_period_is_waited_for_and_no_backoff() {
    for (initial, waited) in [(Duration::from_millis(250), 2), (Duration::from_secs(20), 160)] {
        let mut story = Story::new(&[file("a.py", "1")]);
        story.config.init_period = initial;
        down(&story, 8);
        let start = tokio::time::Instant::now();
        first_sync(&story).await.unwrap();
        assert_eq!(start.elapsed().as_secs(), waited, "eight times {initial:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_loop_until_the_first_sync_ends_with_it() {
    let story = Story::new(&[file("a.py", "1")]);
    down(&story, 3);
    first_sync(&story).await.unwrap();
    assert_eq!((story.read("a.py").as_str(), story.faults.calls(Call::Resolve)), ("1", 4));
}

#[tokio::test(start_paused = true)]
async fn stopped_before_the_first_sync_is_an_error() {
    let story = Story::new(&[file("a.py", "1")]);
    story.faults.always(Call::Resolve, Fault::Hang);
    let token = story.token.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(3)).await;
        token.cancel();
    });
    assert_eq!(first_sync(&story).await.unwrap_err().kind(), ErrorKind::Cancelled);
}
