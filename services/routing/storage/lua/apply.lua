-- Conversations' states after their events. ARGV: seconds to keep closed ones, then 11 per change:
-- id, version, status, episode, epoch, assignee, team, since, held ('1' or '0'), previous holder,
-- listed ('1' = from inbox's list). Returns {applied, stale, 1 if anybody waits}.
local keep = ARGV[1]
local gen = redis.call('GET', base .. 'gen') or '0'
local applied, stale = 0, 0
for i = 2, #ARGV, 11 do
  local id, version, status, ep, epo = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local asg, team, since = ARGV[i + 5], ARGV[i + 6], ARGV[i + 7]
  local held, previous, listed = ARGV[i + 8], ARGV[i + 9], ARGV[i + 10] == '1'
  local c = load(id)
  if c and tonumber(version) <= c.v then
    -- Guard: a zombie or a repeat must not put back what newer events settled.
    stale = stale + 1
    if listed and c.st ~= 'closed' then redis.call('ZADD', base .. 'live', gen, id) end
  else
    applied = applied + 1
    local same = c and c.ep == ep and c.epo == epo
    local last, parked = '', ''
    if c then last = c.last end
    if same then parked = c.parked end
    if status ~= 'on_hold' then held = '0' end
    if asg ~= '' then last = asg elseif previous ~= '' then last = previous end
    local waits_on = same and c.st == 'on_hold' and status == 'on_hold'
    -- Inbox refuses a decision for what is held: its slot is given back at once.
    local keeps_slot = waits_on and c.ra and held == '0'
    if c and not keeps_slot
        and not (waits_on and c.team == team and c.since == since and c.held == held) then
      leave(id, c)
      waits_on = false
    end
    redis.call('HSET', base .. 'c:' .. id, 'v', version, 'st', status, 'ep', ep, 'epo', epo,
      'asg', asg, 'team', team, 'since', since, 'held', held, 'last', last, 'parked', parked)
    if status == 'closed' then
      redis.call('ZREM', base .. 'live', id)
      redis.call('EXPIRE', base .. 'c:' .. id, keep)
    else
      redis.call('ZADD', base .. 'live', gen, id)
      if not c or c.st == 'closed' then redis.call('PERSIST', base .. 'c:' .. id) end
      if status == 'open' then
        redis.call('SADD', base .. 'a:' .. asg, id)
      elseif status == 'on_hold' and not waits_on then
        if held == '1' then
          redis.call('ZADD', base .. 'held', since, id)
          if parked ~= 'held_by_agent' then redis.call('ZADD', base .. 'heldtodo', since, id) end
        else
          enqueue(id, team, since, parked)
        end
      end
    end
  end
end
local waits = redis.call('EXISTS', base .. 'queues', base .. 'heldtodo', base .. 'res')
return {applied, stale, waits}
