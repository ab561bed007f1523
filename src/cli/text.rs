//! The parts of the help that belong to no single option.

pub(super) const TARGET: &str =
    "What to go through: an id such as i-0123456789abcdef0, a name, a tag, an address";

pub(super) const TARGET_LONG: &str = "\
What to go through. An id is used as it is; everything else is looked up, in the inventory of Systems Manager or in ECS, \
and again whenever a session that was lost is replaced:

  i-0123456789abcdef0      an EC2 instance; mi-… is a machine of a hybrid activation
  web                      the node of that Name tag, or else of that name or host name
  tag:Role=bastion         any other tag
  asg:web                  an instance of the Auto Scaling group web that is online
  10.0.1.24                a private IP address
  ip-10-0-1-24.ec2.internal, db.corp.example
                           a private DNS name, or the host name the node reports
  ecs:CLUSTER/SERVICE[/CONTAINER], ecs:CLUSTER/TASKID[/CONTAINER]
                           a container of a service, or of a task
  ecs:CLUSTER_TASKID_RUNTIMEID
                           the id of a container
  @db                      what the configuration file says: [alias] db = \"web\"

If several targets match and more than one is online, a terminal offers the choice; --any takes one. ssmfwd targets \
lists what there is.";

pub(super) const FORWARD: &str = "What to forward: [HOST:]REMOTE_PORT[:LOCAL]";

pub(super) const FORWARD_LONG: &str = "\
What to forward: [HOST:]REMOTE_PORT[:LOCAL]

HOST is a DNS name, an IPv4 address or an [IPv6] address that TARGET can reach; without it, \
or with a loopback one, the port is TARGET's own. LOCAL is where to listen:

  80                       the same port on localhost (127.0.0.1 and ::1)
  80:9090                  another port on localhost
  80:0                     any free port, printed when it is known
  80:0.0.0.0:9090          one address and port; beware of who can reach it
  5432:/run/user/1000/pg   a Unix socket of mode 0600; also ./PATH, unix:PATH
  db.internal:5432:15432   each of them also with a host behind TARGET";

#[cfg(feature = "lab")]
macro_rules! lab_example {
    () => {
        "
  ssmfwd --lab i-0abc 80:9090               the same without AWS: an embedded service"
    };
}

#[cfg(not(feature = "lab"))]
macro_rules! lab_example {
    () => {
        ""
    };
}

macro_rules! examples {
    () => {
        concat!(
            "\
Examples:
  ssmfwd i-0abc 80:9090                     port 80 of i-0abc is http://localhost:9090",
            lab_example!(),
            "
  ssmfwd i-0abc db.internal:5432:15432      a host that i-0abc can reach
  ssmfwd i-0abc 22:50022 80:0 db:3306       many forwards at once
  ssmfwd i-0abc 5432:./pg.sock              a local Unix socket
  ssmfwd i-0abc db:5432:0 -- sh -c 'psql -h $SSMFWD_HOST -p $SSMFWD_PORT'
  ssmfwd shell i-0abc                       a shell on i-0abc
  ssmfwd exec i-0abc -- uname -a            a command, with its outputs and its exit code"
        )
    };
}

pub(super) const EXAMPLES: &str = examples!();

pub(super) const EXAMPLES_AND_EXIT_CODES: &str = concat!(
    examples!(),
    "

Exit codes:
  0    done, or stopped by the user
  1    failure
  2    the command line is wrong
  3    credentials are missing, expired, or do not permit the call
  4    the target is unknown or not connected to Systems Manager
  5    a local address cannot be listened on
  6    the service or the agent ended a running session, and no other one follows
  130  interrupted before there was a result
  With -- COMMAND, the exit code is the command's own once it has started, unless its
  forwards fail first: it is stopped then.
  With exec, it is the remote command's own; 255 if a signal has killed it."
);
