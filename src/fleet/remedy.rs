//! Asks the pods that have drifted to sync now. Whether that helped, the next check tells.

use futures::stream::{self, StreamExt};
use tokio::time::timeout;

use super::ask::Manners;
use super::report::{Report, Verdict};
use crate::client::Client;

/// Asks each pod that has drifted or is tampered with, and notes what came of it.
pub async fn remedy(report: &mut Report, manners: &Manners) {
    let ill = report.pods.iter_mut().filter(|pod| pod.state.is_drift());
    stream::iter(ill).for_each_concurrent(manners.concurrency, |pod| ask(pod, manners)).await;
}

async fn ask(pod: &mut Verdict, manners: &Manners) {
    let Some(url) = pod.address.clone() else { return };
    let asked = async { Client::of_many(&url, &manners.client)?.sync().await };
    pod.remedy = Some(match timeout(manners.timeout, asked).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(super::answer::clipped(&error.to_string())),
        Err(_) => Err(format!("no answer within {}", humantime::format_duration(manners.timeout))),
    });
}
