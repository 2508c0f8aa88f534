//! A queue of S3 events wakes the daemon, and nothing in it can do more than that.

use serde_json::{Value, json};

use super::{keyed, pod, version};
use crate::harness::{Bucket, Pod, S3Server, eventually};

/// A bucket, and a queue that is told of it by the tests.
struct Queue {
    bucket: Bucket,
    url: String,
}

impl Queue {
    fn new() -> Self {
        let bucket = S3Server::moto().bucket();
        bucket.put("dags/a.py", "1");
        let made = bucket.server.call("sqs", "create_queue", &json!({ "QueueName": bucket.name }));
        Self { url: made["QueueUrl"].as_str().unwrap().to_owned(), bucket }
    }

    fn send(&self, body: &str) {
        self.bucket.server.call("sqs", "send_message", &json!({ "QueueUrl": self.url, "MessageBody": body }));
    }

    /// Every message was taken and removed.
    fn is_empty(&self) {
        let which = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
        let with = json!({ "QueueUrl": self.url, "AttributeNames": which });
        eventually("the queue is empty", || {
            let counts = self.bucket.server.call("sqs", "get_queue_attributes", &with);
            which.iter().all(|name| counts["Attributes"][name] == "0").then_some(())
        });
    }

    /// A daemon that would look again by itself in an hour.
    fn pod(&self) -> Pod {
        let server = self.bucket.server;
        keyed(pod(&self.bucket.url("dags"), &server.endpoint), &server.access_key, &server.secret_key)
            .set("s3.queue_url", &self.url)
            .set("period", "1h")
    }

    /// What S3 sends when an object was written.
    fn event(&self, key: &str) -> Value {
        let s3 = json!({ "bucket": { "name": self.bucket.name }, "object": { "key": key, "size": 1 } });
        json!({ "Records": [{ "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": s3 }] })
    }
}

#[test]
fn an_event_in_each_form_wakes_the_daemon_and_is_removed() {
    let queue = Queue::new();
    let mut pod = queue.pod();
    pod.start_on(&version("1"));
    let direct = queue.event("dags/a.py");
    let bridge = json!({
        "source": "aws.s3", "detail-type": "Object Created",
        "detail": { "bucket": { "name": queue.bucket.name }, "object": { "key": "dags/a.py" } },
    });
    let sns = json!({ "Type": "Notification", "TopicArn": "arn:aws:sns:x", "Message": direct.to_string() });
    for (content, event) in [("2", direct), ("3", bridge), ("4", sns)] {
        queue.bucket.put("dags/a.py", content);
        queue.send(&event.to_string());
        pod.is_on(&version(content));
    }
    queue.is_empty();
}

#[test]
fn what_is_about_something_else_or_is_garbage_is_removed_and_wakes_nobody() {
    let queue = Queue::new();
    let mut pod = queue.pod();
    pod.start_on(&version("1"));
    let syncs = pod.metric("dagsync_syncs_total");
    queue.bucket.put("dags/a.py", "2");
    let elsewhere = queue.event("dags2/a.py").to_string();
    let test = json!({ "Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": queue.bucket.name }).to_string();
    let of_other = elsewhere.replace("dags2/", "dags/").replace(&queue.bucket.name, "other-bucket");
    // Twice: whoever takes the second round has long woken the loop because of the first.
    for _ in 0..2 {
        for body in [&elsewhere, &of_other, &test, "<?xml version=\"1.0\"?>", "{\"Records\": 7}", "null"] {
            queue.send(body);
        }
        queue.is_empty();
    }
    assert_eq!((pod.metric("dagsync_syncs_total"), &pod.status().unwrap()["version"]), (syncs, &version("1").into()));
    queue.send(&queue.event("dags/a.py").to_string());
    pod.is_on(&version("2"));
}

#[test]
fn a_queue_that_is_not_there_or_not_for_us_leaves_polling_as_it_is() {
    let queue = Queue::new();
    let gone = format!("{}-of-nobody", queue.url);
    let mut pod = queue.pod().set("s3.queue_url", &gone).set("period", "200ms");
    pod.start_on(&version("1"));
    pod.says("cannot hear of changes; polling goes on");
    pod.says("there is no such queue; check s3.queue_url");
    queue.bucket.put("dags/a.py", "2");
    pod.is_on(&version("2"));
    let mut pod = queue.pod().set("s3.queue_url", "http://127.0.0.1:1/q").set("period", "200ms");
    pod.start_on(&version("2"));
    pod.says("http://127.0.0.1:1/q: no answer");
    assert_eq!(pod.stop().code(), Some(0));
}

#[test]
fn a_daemon_that_waits_for_messages_stops_when_it_is_told_to() {
    let queue = Queue::new();
    let mut pod = queue.pod();
    pod.start_on(&version("1"));
    queue.send("taken");
    queue.is_empty();
    assert_eq!(pod.stop().code(), Some(0), "{}", pod.log());
}
