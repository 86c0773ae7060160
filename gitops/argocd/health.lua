-- Health of every kind of waybill.dev, for Argo CD. argocd-cm.yaml beside this file has it for each of them.
local hs = { status = "Progressing", message = "the site has not looked at it yet" }

if obj.status == nil or obj.status.conditions == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return hs
end

local ready
for _, condition in ipairs(obj.status.conditions) do
  if condition.type == "Stalled" and condition.status == "True" then
    hs.status = "Degraded"
    hs.message = condition.message
    return hs
  end
  if condition.type == "Ready" then
    ready = condition
  end
end
if ready == nil then
  return hs
end

hs.message = ready.message
if obj.metadata.deletionTimestamp ~= nil then
  if ready.status == "True" then
    hs.message = "being deleted"
  end
elseif ready.status == "True" then
  hs.status = "Healthy"
  if ready.reason == "Suspended" then
    hs.status = "Suspended"
  end
elseif ready.status == "False" then
  hs.status = "Degraded"
end
return hs
