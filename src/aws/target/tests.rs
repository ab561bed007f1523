use super::*;
use crate::aws::Options;
use crate::lab::{Config, Lab};

const TASK: &str = "0123456789abcdef0123456789abcdef";

/// A lab with the targets described.
async fn lab(targets: &[&str]) -> (Lab, Aws) {
    let targets = targets.iter().map(|text| described(text)).collect();
    let config = Config {
        targets,
        ..Config::default()
    };
    let lab = Lab::start(config).await.unwrap();
    let options = Options {
        region: Some(lab.region().to_owned()),
        endpoint_url: Some(lab.endpoint_url()),
        credentials: Some(lab.credentials()),
        ..Options::default()
    };
    (lab, Aws::load(&options).await.unwrap())
}

fn described(text: &str) -> crate::lab::Target {
    crate::lab::Target::parse(text).unwrap()
}

fn target(name: &str) -> Target {
    Target::new(name, name.parse().unwrap(), false)
}

fn any(name: &str) -> Target {
    Target::new(name, name.parse().unwrap(), true)
}

#[tokio::test]
async fn every_selector_finds_its_target() {
    let container = format!("ecs:my_cluster_{TASK}_{TASK}-1");
    let sidecar = format!("ecs:my_cluster_{TASK}_{TASK}-2");
    let (_lab, aws) = lab(&[
        "i-0a,Name=web,ip=10.0.0.1,computer=web-1.corp.example,Role=front",
        "i-0b,Name=web server 2,ip=10.0.0.2,computer=ip-10-0-0-2.ec2.internal,asg=blue",
        "i-0c,Name=web.corp.example,ip=fd00::3,Role=back",
        "mi-0d,computer=EC2AMAZ-D,asg=blue,offline",
        &format!("{container},service=front"),
        &format!("{sidecar},service=front,container=envoy"),
        "ecs:my_cluster_0af1_0af1-1,service=back",
    ])
    .await;
    for (name, id) in [
        ("web", "i-0a"),
        ("web server 2", "i-0b"),
        ("web.corp.example", "i-0c"),
        ("web-1.corp.example", "i-0a"),
        ("WEB-1", "i-0a"),
        ("ec2amaz-d", "mi-0d"),
        ("ip-10-0-0-2.ec2.internal", "i-0b"),
        ("ip-10-0-0-1.ec2.internal", "i-0a"),
        ("tag:Role=back", "i-0c"),
        ("tag:Name=web", "i-0a"),
        ("asg:blue", "i-0b"),
        ("10.0.0.2", "i-0b"),
        ("fd00:0::3", "i-0c"),
        ("ecs:my_cluster/front/app", &container),
        ("ecs:my_cluster/front/envoy", &sidecar),
        (&format!("ecs:my_cluster/{TASK}/envoy"), &sidecar),
        ("ecs:my_cluster/back", "ecs:my_cluster_0af1_0af1-1"),
        ("ecs:my_cluster/0af1", "ecs:my_cluster_0af1_0af1-1"),
        // Not even asked for.
        ("i-0fff", "i-0fff"),
    ] {
        let resolved = aws.resolve(&target(name)).await;
        assert_eq!(resolved.as_deref(), Ok(id), "{name}");
    }
}

#[tokio::test]
async fn what_does_not_exist_is_told_with_where_it_was_looked_for() {
    let (_lab, aws) = lab(&["i-0a,Name=web-prod", "ecs:c_0af1_0af1-1,service=web"]).await;
    for (name, message, hint) in [
        (
            "web-prd",
            "no managed node is called `web-prd` in this account in us-east-1",
            "did you mean `web-prod`?",
        ),
        (
            "database",
            "no managed node is called `database` in",
            "ssmfwd targets",
        ),
        ("tag:Role=db", "no managed node has the tag Role=db in", ""),
        ("asg:x", "Auto Scaling group `x` in", ""),
        ("10.9.9.9", "has the address 10.9.9.9 in", ""),
        ("ecs:d/web", "there is no ECS cluster `d` in us-east-1", ""),
        (
            "ecs:c/db",
            "no container of `db` runs in the ECS cluster `c`",
            "",
        ),
        ("ecs:c/web/x", "no container `x` of `web` runs", ""),
    ] {
        let failure = aws.resolve(&target(name)).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Target, "{name}");
        assert!(failure.message.contains(message), "{failure}");
        assert!(failure.hint.unwrap().contains(hint), "{name}");
    }
}

#[tokio::test]
async fn several_targets_are_not_chosen_from_unless_any_will_do() {
    let (lab, aws) = lab(&[
        "i-0a,Name=web",
        "i-0b,Name=web,zone=us-east-1b",
        "i-0c,Name=web,offline",
    ])
    .await;
    let failure = aws.resolve(&target("web")).await.unwrap_err();
    assert_eq!(failure.exit, Exit::Target);
    assert_eq!(failure.message, "3 targets match `web`");
    let ids: Vec<_> = failure
        .matches
        .iter()
        .map(|node| node.id.as_str())
        .collect();
    assert_eq!(ids, ["i-0a", "i-0b", "i-0c"]);
    assert_eq!(failure.matches[1].zone.as_deref(), Some("us-east-1b"));
    assert_eq!(failure.matches[2].state, NodeState::Lost);

    let target = any("web");
    let id = aws.resolve(&target).await.unwrap();
    assert!(["i-0a", "i-0b"].contains(&&*id));
    // It stays, as long as it can be reached.
    for _ in 0..3 {
        target.forget(&id);
        assert_eq!(aws.resolve(&target).await.as_deref(), Ok(&*id));
    }
    let away = described("i-0fff");
    lab.replace_target(&id, away).await.unwrap();
    assert_eq!(
        aws.resolve(&target).await.as_deref(),
        Ok(&*id),
        "nothing was forgotten"
    );
    target.forget(&id);
    let other = aws.resolve(&target).await.unwrap();
    assert_ne!(other, id);
    assert!(["i-0a", "i-0b"].contains(&&*other));
}

#[tokio::test]
async fn the_only_one_that_is_online_is_meant() {
    let (_lab, aws) = lab(&[
        "i-0a,Name=web,offline",
        "i-0b,Name=web",
        "i-0c,Role=x,offline",
        "i-0d,Role=x,offline",
    ])
    .await;
    assert_eq!(aws.resolve(&target("web")).await.as_deref(), Ok("i-0b"));
    let none = aws.resolve(&any("tag:Role=x")).await.unwrap_err();
    assert_eq!(
        none.message,
        "none of the 2 targets that match `tag:Role=x` is online"
    );
    assert_eq!(none.matches.len(), 2);
}

#[tokio::test]
async fn clones_share_what_was_found_and_what_is_fixed_stays() {
    let (_lab, aws) = lab(&["i-0a,Name=web", "i-0b,Name=web"]).await;
    let target = target("web");
    target.clone().fix("i-0b");
    assert_eq!(aws.resolve(&target).await.as_deref(), Ok("i-0b"));
    target.forget("i-0b");
    assert_eq!(target.current().as_deref(), Some("i-0b"));
    let id = Target::id("i-0a");
    id.forget("i-0a");
    assert_eq!(id.current().as_deref(), Some("i-0a"));
}

#[tokio::test]
async fn inventory_and_services_are_read_to_their_last_page() {
    let mut targets: Vec<_> = (0..120)
        .map(|n| format!("i-{n:04x},Name=node-{n:03},Role=x"))
        .collect();
    targets.push("i-ffff,Name=node-last,ip=10.0.0.1".to_owned());
    for n in 0..120 {
        targets.push(format!("ecs:c_{n:032x}_{n:032x}-1,service=web"));
    }
    let targets: Vec<_> = targets.iter().map(String::as_str).collect();
    let (_lab, aws) = lab(&targets).await;
    let nodes = aws.nodes().await.unwrap();
    assert_eq!(nodes.len(), 121);
    assert_eq!(nodes[0].name.as_deref(), Some("node-000"));
    assert_eq!(
        aws.resolve(&target("10.0.0.1")).await.as_deref(),
        Ok("i-ffff")
    );
    let found = aws.find(&"tag:Role=x".parse().unwrap()).await.unwrap();
    assert_eq!(found.nodes.len(), 120);
    let found = aws.find(&"ecs:c/web".parse().unwrap()).await.unwrap();
    assert_eq!(found.nodes.len(), 120);
}
