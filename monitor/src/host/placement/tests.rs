//! Paths as real hosts have them, and paths as an attacker would make them.

use proptest::prelude::*;

use super::{Container, Placement, Runtime};
use crate::event::Text;

const ID: &str = "3f4a5b6c7d8e9f00112233445566778899aabbccddeeff00112233445566aabb";
const OTHER: &str = "0000000000000000000000000000000000000000000000000000000000000001";
const POD: &str = "0c6e1a2b-3d4f-4a5b-8c7d-9e0f1a2b3c4d";

/// What to expect, in the order of the table: unit, container, pod, user, user's unit.
#[derive(Clone, Default)]
struct Row(Option<&'static str>, Option<(Runtime, &'static str)>, Option<&'static str>, Option<u32>);

fn check(path: &str, expected: &Row) {
    let path = path.replace("ID", ID).replace("POD_", &POD.replace('-', "_")).replace("POD", POD);
    let found = Placement::of(path.as_bytes());
    let full = |text: &str| text.replace("ID", ID);
    assert_eq!(found.unit, expected.0.map(full), "unit of {path}");
    let container =
        expected.1.map(|(runtime, id)| Container { runtime, id: Text::from(&*full(id)), monitor: false });
    assert_eq!(found.container, container, "container of {path}");
    assert_eq!(found.pod.as_deref(), expected.2, "pod of {path}");
    assert_eq!(found.user, expected.3, "user of {path}");
}

#[test]
fn units_of_systemd() {
    let unit = |path, unit| check(path, &Row(Some(unit), None, None, None));
    unit("/init.scope", "init.scope");
    unit("/system.slice/api.service", "api.service");
    unit("/system.slice/dbus.socket", "dbus.socket");
    unit("/system.slice/boot-efi.mount", "boot-efi.mount");
    unit("/system.slice/system-postgresql.slice/postgresql@15-main.service", "postgresql@15-main.service");
    unit(
        "/system.slice/system-systemd\\x2dfsck.slice/systemd-fsck@dev-disk-by\\x2duuid-1A.service",
        "systemd-fsck@dev-disk-by\\x2duuid-1A.service",
    );
    unit("/system.slice/systemd-udevd.service/udev", "systemd-udevd.service");
    unit("/payments.slice/payments-eu.slice/worker@3.service/sub/deeper", "worker@3.service");
    unit("/system.slice/_cpu.service", "cpu.service");
}

#[test]
fn containers_and_pods() {
    use Runtime::{Containerd, CriO, Docker, Kubernetes, Lxc, Machine, Podman};
    let table: [(&str, Row); 22] = [
        ("/system.slice/docker-ID.scope", Row(Some("docker-ID.scope"), Some((Docker, "ID")), None, None)),
        ("/team.slice/docker-ID.scope/init", Row(Some("docker-ID.scope"), Some((Docker, "ID")), None, None)),
        ("/docker/ID", Row(None, Some((Docker, "ID")), None, None)),
        ("/docker/ID/system.slice/cron.service", Row(None, Some((Docker, "ID")), None, None)),
        (
            "/docker/buildkit/u3vj1pzqk1f0gyn4ihlq0ue5n",
            Row(None, Some((Docker, "u3vj1pzqk1f0gyn4ihlq0ue5n")), None, None),
        ),
        ("/default/my-redis", Row(None, Some((Containerd, "my-redis")), None, None)),
        ("/k8s.io/ID", Row(None, Some((Containerd, "ID")), None, None)),
        (
            "/system.slice/nerdctl-ID.scope",
            Row(Some("nerdctl-ID.scope"), Some((Containerd, "ID")), None, None),
        ),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podPOD_.slice/cri-containerd-ID.scope",
            Row(Some("cri-containerd-ID.scope"), Some((Containerd, "ID")), Some(POD), None),
        ),
        (
            "/kubepods.slice/kubepods-podPOD_.slice/crio-ID.scope/container",
            Row(Some("crio-ID.scope"), Some((CriO, "ID")), Some(POD), None),
        ),
        ("/kubepods.slice/kubepods-podPOD_.slice", Row(None, None, Some(POD), None)),
        (
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podPOD_.slice/cri-containerd-ID.scope",
            Row(Some("cri-containerd-ID.scope"), Some((Containerd, "ID")), Some(POD), None),
        ),
        (
            "/system.slice/containerd.service/kubepods-besteffort-podPOD_.slice:cri-containerd:ID",
            Row(Some("containerd.service"), Some((Containerd, "ID")), Some(POD), None),
        ),
        ("/kubepods/burstable/podPOD/ID", Row(None, Some((Kubernetes, "ID")), Some(POD), None)),
        ("/kubepods/podPOD/crio-ID", Row(None, Some((CriO, "ID")), Some(POD), None)),
        (
            "/machine.slice/libpod-ID.scope/container",
            Row(Some("libpod-ID.scope"), Some((Podman, "ID")), None, None),
        ),
        (
            "/machine.slice/machine-libpod_pod_ID.slice/libpod-ID.scope",
            Row(Some("libpod-ID.scope"), Some((Podman, "ID")), Some(ID), None),
        ),
        ("/libpod_parent/libpod-ID", Row(None, Some((Podman, "ID")), None, None)),
        (
            "/system.slice/web.service/libpod-payload-ID",
            Row(Some("web.service"), Some((Podman, "ID")), None, None),
        ),
        (
            "/machine.slice/machine-qemu\\x2d1\\x2ddb.scope",
            Row(Some("machine-qemu\\x2d1\\x2ddb.scope"), Some((Machine, "qemu-1-db")), None, None),
        ),
        (
            "/machine.slice/systemd-nspawn@build.service/payload/system.slice/x.service",
            Row(Some("systemd-nspawn@build.service"), Some((Machine, "build")), None, None),
        ),
        ("/lxc.payload.web/system.slice/ssh.service", Row(None, Some((Lxc, "web")), None, None)),
    ];
    table.iter().for_each(|(path, row)| check(path, row));
}

#[test]
fn what_watches_over_a_container_is_not_inside_of_it() {
    for (path, runtime) in [
        ("/kubepods.slice/crio-conmon-ID.scope", Runtime::CriO),
        ("/machine.slice/libpod-conmon-ID.scope", Runtime::Podman),
        ("/libpod_parent/conmon-ID", Runtime::Podman),
    ] {
        let found = Placement::of(path.replace("ID", ID).as_bytes());
        assert_eq!(found.container, Some(Container { runtime, id: Text::from(ID), monitor: true }), "{path}");
    }
    assert_eq!(Placement::of(b"/lxc.monitor.web"), Placement::default());
}

#[test]
fn sessions_and_units_of_users() {
    check(
        "/user.slice/user-1000.slice/session-3.scope",
        &Row(Some("session-3.scope"), None, None, Some(1000)),
    );
    let of_user = |path: &str| Placement::of(path.replace("ID", ID).as_bytes());
    let found = of_user("/user.slice/user-1000.slice/user@1000.service/app.slice/app-editor.slice/e.service");
    assert_eq!(
        (found.unit.as_deref(), found.user_unit.as_deref()),
        (Some("user@1000.service"), Some("e.service"))
    );
    let found = of_user("/user.slice/user-7.slice/user@7.service/user.slice/libpod-ID.scope/container");
    assert_eq!(found.container.map(|it| it.runtime), Some(Runtime::Podman));
    assert_eq!((found.unit.as_deref(), found.user), (Some("user@7.service"), Some(7)));
}

#[test]
fn nothing_below_a_delegated_group_is_a_unit_of_the_system() {
    let user = "/user.slice/user-1000.slice/user@1000.service";
    for below in ["/system.slice/api.service", "/api.service", "/x/../../../system.slice/api.service"] {
        let found = Placement::of(format!("{user}{below}").as_bytes());
        assert_eq!((found.unit.as_deref(), found.user), (Some("user@1000.service"), Some(1000)), "{below}");
    }
    // A second manager's name doesn't change whose it is.
    let found = Placement::of(format!("{user}/user.slice/user-0.slice/user@0.service").as_bytes());
    assert_eq!(found.user, Some(1000));
    // A container that poses as another, or as a part of the host.
    let container = format!("/system.slice/docker-{ID}.scope");
    for below in ["/system.slice/api.service".to_owned(), format!("/docker-{OTHER}.scope")] {
        let found = Placement::of(format!("{container}{below}").as_bytes());
        assert_eq!(found.unit, Some(format!("docker-{ID}.scope")));
        assert_eq!(found.container.map(|it| it.id), Some(Text::from(ID)));
        let found = Placement::of(format!("/docker/{ID}{below}").as_bytes());
        assert_eq!((found.unit, found.container.map(|it| it.id)), (None, Some(Text::from(ID))));
    }
    let found = Placement::of(format!("/lxc.payload.a/docker-{ID}.scope").as_bytes());
    assert_eq!((found.unit, found.container.map(|it| it.id)), (None, Some(Text::from("a"))));
}

#[test]
fn what_only_looks_like_a_unit_is_none() {
    for path in [
        "/",
        "",
        "/system.slice",
        "/.service",
        "/system.slice/.service",
        "/plain/system.slice/api.service",
        // systemd puts no slice where its name doesn't.
        "/nomad.slice/share.slice/api.service",
        "/system.slice/user-0.slice/api.service",
        "/system.slice/api.service\n",
        "/system.slice/ap i.service",
        "/system.slice/\u{1b}[2Jx.service",
        "/docker/short id",
    ] {
        check(path, &Row::default());
    }
    // A unit of that name exists; it is just no container's.
    check("/system.slice/docker-12.scope", &Row(Some("docker-12.scope"), None, None, None));
    check("/user.slice/user-01.slice/session-1.scope", &Row(Some("session-1.scope"), None, None, None));
}

proptest! {
    #[test]
    fn any_path_is_read_without_a_panic(path in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Placement::of(&path);
    }

    #[test]
    fn a_user_never_leaves_his_own(parts in prop::collection::vec("[a-z@.:\\\\_-]{0,12}(\\.slice|\\.service|\\.scope)?", 0..6)) {
        let path = format!("/user.slice/user-1000.slice/user@1000.service/{}", parts.join("/"));
        let found = Placement::of(path.as_bytes());
        prop_assert_eq!(found.unit.as_deref(), Some("user@1000.service"));
        prop_assert_eq!(found.user, Some(1000));
    }
}
