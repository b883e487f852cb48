//! Fetching from the hub.

use std::fs;
use std::sync::mpsc::channel;

use lorascope::cancel::Cancel;
use lorascope::config::HubSettings;
use lorascope::error::Error;
use lorascope::hub::{self, FetchEvent};

use crate::bench::{Bench, URL, payload, sha256};
use crate::server::{Act, Server};

fn server(acts: Vec<Act>) -> Server {
    Server::start(&[(URL, &payload())], acts)
}

#[test]
fn a_whole_file_arrives_with_its_events_in_order() {
    let server = server(vec![]);
    let mut bench = Bench::new(&server.endpoint);
    let files = bench.fetch().unwrap();
    bench.assert_whole();
    assert!(files.is_gguf());
    let total = payload().len() as u64;
    let model = "tiny".to_owned();
    let source = format!("the hub ({})", server.endpoint);
    assert_eq!(bench.events[0], FetchEvent::Trying { model: model.clone(), source });
    let [.., FetchEvent::Advanced { done, total: of, .. }, verifying, fetched] = bench.events.as_slice()
    else {
        panic!("{:?}", bench.events)
    };
    assert_eq!((*done, *of), (total, total));
    assert_eq!(*verifying, FetchEvent::Verifying { model: model.clone() });
    assert_eq!(*fetched, FetchEvent::Fetched { model });
}

#[test]
fn a_model_that_is_there_is_not_fetched_again() {
    let server = server(vec![]);
    let mut bench = Bench::new(&server.endpoint);
    bench.fetch().unwrap();
    bench.events.clear();
    bench.fetch().unwrap();
    assert_eq!(server.requests().len(), 1);
    assert!(bench.events.is_empty());
}

#[test]
fn a_cut_connection_is_taken_up_where_it_broke() {
    let server = server(vec![Act::Cut(300_000), Act::Cut(100_000)]);
    let mut bench = Bench::new(&server.endpoint);
    bench.fetch().unwrap();
    bench.assert_whole();
    let asked =
        [format!("GET {URL} -"), format!("GET {URL} bytes=300000-"), format!("GET {URL} bytes=400000-")];
    assert_eq!(server.requests(), asked);
}

#[test]
fn a_server_without_ranges_starts_from_the_beginning() {
    let server = server(vec![Act::Cut(300_000), Act::IgnoreRange]);
    let mut bench = Bench::new(&server.endpoint);
    bench.fetch().unwrap();
    bench.assert_whole();
}

#[test]
fn what_an_earlier_process_left_is_gone_on_with() {
    let server = server(vec![]);
    let mut bench = Bench::new(&server.endpoint);
    fs::write(bench.folder().join("tiny.gguf.part"), &payload()[..500_000]).unwrap();
    bench.fetch().unwrap();
    bench.assert_whole();
    assert_eq!(server.requests(), [format!("GET {URL} bytes=500000-")]);
}

#[test]
fn a_part_of_something_else_is_thrown_away() {
    for length in [500_000, payload().len(), payload().len() + 1] {
        let server = server(vec![]);
        let mut bench = Bench::new(&server.endpoint);
        fs::write(bench.folder().join("tiny.gguf.part"), vec![7; length]).unwrap();
        bench.fetch().unwrap();
        bench.assert_whole();
    }
}

#[test]
fn a_corrupted_file_is_refused_and_leaves_nothing() {
    let server = server(vec![Act::Corrupt]);
    let mut bench = Bench::new(&server.endpoint);
    let complaint = bench.complaint();
    assert!(complaint.contains("tiny.gguf has the wrong checksum"), "{complaint}");
    assert!(bench.left().is_empty(), "{:?}", bench.left());
    assert!(bench.store.locate("tiny").is_none());
}

#[test]
fn a_file_of_another_size_is_refused_before_it_is_fetched() {
    let server = Server::start(&[(URL, b"something else")], vec![]);
    let complaint = Bench::new(&server.endpoint).complaint();
    assert!(complaint.contains("14 bytes, not 700000"), "{complaint}");
}

#[test]
fn a_connection_that_brings_nothing_is_given_up() {
    let server = server((0..50).map(|_| Act::Cut(0)).collect());
    let complaint = Bench::new(&server.endpoint).complaint();
    assert!(complaint.contains("the connection broke"), "{complaint}");
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn one_error_tells_every_source_and_what_to_do_by_hand() {
    let server = server(vec![Act::Status(503)]);
    let complaint = Bench::new(&server.endpoint).complaint();
    let sum = sha256(&payload());
    let hub = format!("the hub ({}): it answered with status 503", server.endpoint);
    let wheel = "the Python wheels tiny-one==1.0 and 1 more (pip): no /no/such/python found";
    let file = format!("tiny.gguf (700000 bytes, sha256 {sum}, for instance from {}{URL})", server.endpoint);
    for part in [&hub, wheel, &file, "lorascope models import PATH"] {
        assert!(complaint.contains(part), "`{part}` is not in: {complaint}");
    }
    assert!(!complaint.contains('\n'));
}

#[test]
fn a_hub_that_cannot_be_reached_is_told() {
    let complaint = Bench::new(&Server::nobody()).complaint();
    assert!(complaint.to_lowercase().contains("refused"), "{complaint}");
}

#[test]
fn offline_nothing_is_asked() {
    let server = server(vec![]);
    let settings = HubSettings {
        endpoint: Some(server.endpoint.clone()),
        offline: Some(true),
        ..HubSettings::default()
    };
    let complaint = Bench::with_settings(&settings).complaint();
    assert!(complaint.contains("LORASCOPE_OFFLINE"), "{complaint}");
    assert!(server.requests().is_empty());
}

#[test]
fn a_cancel_ends_a_silent_download_and_the_next_goes_on() {
    let server = server(vec![Act::Stall(300_000)]);
    let mut bench = Bench::new(&server.endpoint);
    let cancel = Cancel::new();
    let entry = bench.entry("tiny");
    let result = hub::fetch(&bench.store, &entry, &cancel, &mut |event| {
        if matches!(event, FetchEvent::Advanced { .. }) {
            cancel.cancel();
        }
    });
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
    assert_eq!(bench.left(), ["tiny.gguf.part"]);
    assert!(bench.store.locate("tiny").is_none());
    bench.fetch().unwrap();
    bench.assert_whole();
    assert!(server.requests()[1].contains("bytes="), "{:?}", server.requests());
}

#[test]
fn of_two_at_once_one_fetches_and_the_other_waits() {
    let (release, gate) = channel();
    let server = server(vec![Act::Wait(gate)]);
    let bench = Bench::new(&server.endpoint);
    let entry = bench.entry("tiny");
    let fetch = |note: &mut dyn FnMut(FetchEvent)| hub::fetch(&bench.store, &entry, &Cancel::new(), note);
    let (began, has_begun) = channel();
    std::thread::scope(|scope| {
        let first = scope.spawn(move || {
            fetch(&mut |event| {
                if matches!(event, FetchEvent::Trying { .. }) {
                    began.send(()).unwrap();
                }
            })
        });
        // The first holds the lock from here on.
        has_begun.recv().unwrap();
        let mut sources = Vec::new();
        fetch(&mut |event| {
            if let FetchEvent::Trying { source, .. } = event {
                sources.push(source);
                release.send(()).unwrap();
            }
        })
        .unwrap();
        first.join().unwrap().unwrap();
        assert_eq!(sources, ["again once another lorascope has fetched it"]);
    });
    assert_eq!(server.requests().len(), 1);
    bench.assert_whole();
}

#[test]
fn a_licence_must_be_accepted_first() {
    let server = server(vec![]);
    let bench = Bench::new(&server.endpoint);
    let mut entry = bench.entry("tiny");
    entry.licence.needs_acceptance = true;
    let fetch = || hub::fetch(&bench.store, &entry, &Cancel::new(), &mut |_| {});
    let complaint = fetch().unwrap_err().to_string();
    assert!(complaint.contains("https://example.org/terms"), "{complaint}");
    assert!(complaint.contains("--accept-licence"), "{complaint}");
    assert!(server.requests().is_empty());
    bench.store.accept_licence(&entry).unwrap();
    fetch().unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_in_its_own_words() {
    let server = server(vec![]);
    let mut bench = Bench::new(&server.endpoint);
    std::os::unix::fs::symlink("/dev/full", bench.folder().join("tiny.gguf.part")).unwrap();
    let complaint = bench.complaint();
    assert!(complaint.starts_with("the disk is full"), "{complaint}");
    assert!(complaint.contains("LORASCOPE_HOME"), "{complaint}");
}

#[test]
fn a_model_that_the_disk_has_no_room_for_is_refused_at_once() {
    let server = server(vec![]);
    let bench = Bench::new(&server.endpoint);
    let mut entry = bench.entry("tiny");
    entry.files[0].size = 1 << 60;
    let result = hub::fetch(&bench.store, &entry, &Cancel::new(), &mut |_| {});
    let complaint = result.unwrap_err().to_string();
    assert!(complaint.contains("needs 1152921504606846976 bytes more"), "{complaint}");
    assert!(server.requests().is_empty());
}

#[test]
fn rot_on_the_disk_is_found_and_mended() {
    use lorascope::hub::FileState;
    let server = server(vec![]);
    let mut bench = Bench::new(&server.endpoint);
    let path = bench.fetch().unwrap().path;
    let states = |bench: &Bench| {
        let found = bench.store.verify(&Cancel::new(), &mut |_| {}).unwrap();
        found.into_iter().map(|file| file.state).collect::<Vec<_>>()
    };
    assert_eq!(states(&bench), [FileState::Good]);
    let mut body = payload();
    body[123] ^= 1;
    fs::write(&path, body).unwrap();
    assert_eq!(states(&bench), [FileState::Broken]);
    assert_eq!(bench.store.discard_broken(&bench.entry("tiny"), &Cancel::new()).unwrap(), 1);
    bench.fetch().unwrap();
    bench.assert_whole();
}
