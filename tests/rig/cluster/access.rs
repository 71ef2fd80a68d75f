//! Who asks, and what they may.

use super::calls::Calls;
use super::journal::Request;

/// Users by their tokens, and the exceptions to their being allowed everything.
#[derive(Debug, Default)]
pub(super) struct Access {
    users: Vec<User>,
}

#[derive(Debug)]
struct User {
    name: String,
    token: String,
    rules: Vec<(Calls, Verdict)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Permitted,
    Forbidden,
}

impl Access {
    /// A user's token, who comes into being with the first.
    pub(super) fn token(&mut self, name: &str) -> String {
        self.user(name).token.clone()
    }

    /// From now on another token is the user's, and the old one nobody's.
    pub(super) fn renew(&mut self, name: &str) {
        let user = self.user(name);
        user.token.push('x');
    }

    /// The last rule that is about a request decides; without one it is permitted.
    pub(super) fn rule(&mut self, name: &str, calls: Calls, verdict: Verdict) {
        self.user(name).rules.push((calls, verdict));
    }

    /// Who has a token.
    pub(super) fn holder(&self, token: &str) -> Option<&str> {
        self.users.iter().find(|user| user.token == token).map(|user| user.name.as_str())
    }

    /// What the user of a request may not do, in the real server's words.
    pub(super) fn objection(&self, request: &Request) -> Option<String> {
        let user = self.users.iter().find(|user| user.name == request.user)?;
        let (_, verdict) = user.rules.iter().rev().find(|(calls, _)| calls.include(request))?;
        if *verdict == Verdict::Permitted {
            return None;
        }
        let (whole, part) = request.resource.split_once('/').unwrap_or((&request.resource, ""));
        let (plural, group) = whole.split_once('.').unwrap_or((whole, ""));
        let resource = if part.is_empty() { plural.to_owned() } else { format!("{plural}/{part}") };
        let place = match request.namespace.as_str() {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace \"{namespace}\""),
        };
        let (user, verb) = (&request.user, &request.verb);
        Some(format!("User \"{user}\" cannot {verb} resource \"{resource}\" in API group \"{group}\" {place}"))
    }

    fn user(&mut self, name: &str) -> &mut User {
        let at = self.users.iter().position(|user| user.name == name).unwrap_or_else(|| {
            let user = User { name: name.to_owned(), token: format!("token-of-{name}"), rules: Vec::new() };
            self.users.push(user);
            self.users.len() - 1
        });
        &mut self.users[at]
    }
}
