//! The circulation of least cost on a small graph, by the network simplex method.
//!
//! A spanning tree of arcs carries what flow is not all or nothing; every other arc is empty or
//! full. The tree gives each node a height under which its arcs cost nothing. An arc outside that
//! would gain enters, flow goes round the cycle it closes, and the arc that blocks first leaves.
//! When no arc gains, the flow is of least cost and the heights prove it.
//!
//! The tree is kept strongly feasible: from every node some flow could be sent to the root along
//! the tree. The blocking arc that is last from the cycle's top leaves, which keeps it so, and a
//! tree never comes back (W. H. Cunningham, "A network simplex method", Mathematical Programming
//! 11, 1976). Integers alone: no tolerance, the same on every machine.
//!
//! It does not know what the arcs stand for: `solve` does.

/// What sending one unit along an arc costs. `solve` puts money and what breaks ties into it.
pub(super) type Cost = i128;

/// No node, or no arc.
const NONE: usize = usize::MAX;
/// So many arcs are looked at for the one that gains the most, at least.
const BLOCK_MIN: usize = 32;

#[derive(Debug, Clone)]
struct Arc {
    from: usize,
    to: usize,
    cost: Cost,
    room: i64,
    flow: i64,
}

/// A node's place in the tree.
#[derive(Debug, Clone)]
struct Node {
    height: Cost,
    parent: usize,
    /// The arc between the node and its parent.
    arc: usize,
    depth: usize,
    child: usize,
    next: usize,
    previous: usize,
}

/// A graph with its tree; a feasible circulation at all times.
#[derive(Debug, Clone)]
pub(super) struct Network {
    arcs: Vec<Arc>,
    nodes: Vec<Node>,
    /// Where the search for an arc that gains goes on.
    cursor: usize,
}

impl Network {
    /// A path of nodes from 0 on: for each of `tree`, an arc from the next node back, with room,
    /// flow and cost. All flow is below its room.
    pub(super) fn path(tree: impl IntoIterator<Item = (i64, i64, Cost)>) -> Self {
        let root = Node {
            height: 0,
            parent: NONE,
            arc: NONE,
            depth: 0,
            child: NONE,
            next: NONE,
            previous: NONE,
        };
        let mut network = Self { arcs: Vec::new(), nodes: vec![root], cursor: 0 };
        for (parent, (room, flow, cost)) in tree.into_iter().enumerate() {
            let node = Node {
                height: network.nodes[parent].height - cost,
                parent,
                arc: network.add((parent + 1, parent), room, flow, cost),
                depth: parent + 1,
                child: NONE,
                next: NONE,
                previous: NONE,
            };
            network.nodes.push(node);
            network.nodes[parent].child = parent + 1;
        }
        network
    }

    /// An arc outside the tree, empty or full. Returns its number.
    pub(super) fn add(
        &mut self,
        (from, to): (usize, usize),
        room: i64,
        flow: i64,
        cost: Cost,
    ) -> usize {
        self.arcs.push(Arc { from, to, cost, room, flow });
        self.arcs.len() - 1
    }

    /// The flow on an arc.
    pub(super) fn flow(&self, arc: usize) -> i64 {
        self.arcs[arc].flow
    }

    /// The height of a node.
    pub(super) fn height(&self, node: usize) -> Cost {
        self.nodes[node].height
    }

    /// Changes what an arc costs; [`Self::optimise`] then finds what follows from it.
    pub(super) fn set_cost(&mut self, arc: usize, cost: Cost) {
        let Arc { from, to, cost: was, .. } = self.arcs[arc];
        self.arcs[arc].cost = cost;
        if self.nodes[from].arc == arc {
            self.lift(from, was - cost);
        } else if self.nodes[to].arc == arc {
            self.lift(to, cost - was);
        }
    }

    /// Takes flow round cycles until none gains.
    pub(super) fn optimise(&mut self) {
        while let Some((arc, reduced)) = self.gaining() {
            self.pivot(arc, reduced);
        }
    }

    /// What a unit more on the arc costs beyond the heights' difference.
    fn reduced(&self, arc: &Arc) -> Cost {
        arc.cost + self.nodes[arc.from].height - self.nodes[arc.to].height
    }

    /// The arc that gains the most in the first block of arcs that has one, and its reduced cost.
    fn gaining(&mut self) -> Option<(usize, Cost)> {
        let count = self.arcs.len();
        let block = count.isqrt().max(BLOCK_MIN);
        let (mut best, mut most) = (None, 0);
        for looked in 0..count {
            let number = self.cursor;
            let arc = &self.arcs[number];
            let cost = self.reduced(arc);
            let gain = if cost < 0 && arc.flow < arc.room {
                -cost
            } else if cost > 0 && arc.flow > 0 {
                cost
            } else {
                0
            };
            if gain > most {
                (best, most) = (Some((number, cost)), gain);
            }
            self.cursor = if number + 1 == count { 0 } else { number + 1 };
            if looked % block == block - 1 && best.is_some() {
                break;
            }
        }
        best
    }

    /// Sends what fits round the cycle that `entering` closes, and changes the tree.
    fn pivot(&mut self, entering: usize, reduced: Cost) {
        let Arc { from, to, room, flow, .. } = self.arcs[entering];
        // The flow leaves the tree at `tail` and comes back at `head`.
        let more = reduced < 0;
        let (tail, head) = if more { (from, to) } else { (to, from) };
        let mut amount = if more { room - flow } else { flow };
        let mut leaving = None;
        let (mut down, mut up) = (tail, head);
        while down != up {
            if self.nodes[down].depth >= self.nodes[up].depth {
                // From the top down to `tail`: of equals, the one nearest `tail` is the last.
                let left = self.left(down, false);
                if left < amount {
                    (amount, leaving) = (left, Some((tail, down)));
                }
                down = self.nodes[down].parent;
            } else {
                up = self.nodes[up].parent;
            }
        }
        let top = down;
        up = head;
        while up != top {
            let left = self.left(up, true);
            if left <= amount {
                (amount, leaving) = (left, Some((head, up)));
            }
            up = self.nodes[up].parent;
        }
        if amount > 0 {
            self.arcs[entering].flow += if more { amount } else { -amount };
            self.send(tail, top, false, amount);
            self.send(head, top, true, amount);
        }
        if let Some((inner, cut)) = leaving {
            let outer = if inner == tail { head } else { tail };
            self.hang(inner, cut, outer, entering);
            // Whichever end moved, the entering arc has to cost nothing now.
            let lift = if inner == from { -reduced } else { reduced };
            self.lift(inner, lift);
        }
    }

    /// What more can go between a node and its parent, upwards or downwards.
    fn left(&self, node: usize, upwards: bool) -> i64 {
        let arc = &self.arcs[self.nodes[node].arc];
        if (arc.from == node) == upwards { arc.room - arc.flow } else { arc.flow }
    }

    fn send(&mut self, mut node: usize, top: usize, upwards: bool, amount: i64) {
        while node != top {
            let Node { arc, parent, .. } = self.nodes[node];
            let arc = &mut self.arcs[arc];
            arc.flow += if (arc.from == node) == upwards { amount } else { -amount };
            node = parent;
        }
    }

    /// Cuts the subtree of `cut` off and hangs it up by its node `inner`, below `outer`.
    fn hang(&mut self, inner: usize, cut: usize, outer: usize, arc: usize) {
        let (mut node, mut parent, mut arc) = (inner, outer, arc);
        loop {
            let Node { parent: next, arc: next_arc, .. } = self.nodes[node];
            self.detach(node);
            self.attach(node, parent, arc);
            if node == cut {
                return;
            }
            (parent, node, arc) = (node, next, next_arc);
        }
    }

    fn detach(&mut self, node: usize) {
        let Node { parent, next, previous, .. } = self.nodes[node];
        if previous == NONE {
            self.nodes[parent].child = next;
        } else {
            self.nodes[previous].next = next;
        }
        if next != NONE {
            self.nodes[next].previous = previous;
        }
    }

    fn attach(&mut self, node: usize, parent: usize, arc: usize) {
        let next = std::mem::replace(&mut self.nodes[parent].child, node);
        if next != NONE {
            self.nodes[next].previous = node;
        }
        let place = &mut self.nodes[node];
        (place.parent, place.arc, place.next, place.previous) = (parent, arc, next, NONE);
    }

    /// Adds to the heights of a node and all below it, and counts their depths again.
    fn lift(&mut self, top: usize, by: Cost) {
        let mut node = top;
        loop {
            let depth = self.nodes[self.nodes[node].parent].depth + 1;
            let place = &mut self.nodes[node];
            place.depth = depth;
            place.height += by;
            if place.child != NONE {
                node = place.child;
                continue;
            }
            while node != top && self.nodes[node].next == NONE {
                node = self.nodes[node].parent;
            }
            if node == top {
                return;
            }
            node = self.nodes[node].next;
        }
    }
}
